"""What contrib/ has beside web servers: each file is tried by the program that it is for.

The web servers' files are tried in tests/live/test_web_servers.py, and cron's in
tests/live/test_cron.py.
"""

import json
import os
import re
import stat
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import ROOT
from tests.live.delivery import name_server
from tests.live.servers import BIN, PREFIX, free_port, need, running, until
from tests.live.web_servers import (
    CONTRIB,
    Gunicorn,
    directory_in_memory,
    from_contrib,
    user_here,
)
from xhmtp_wsgi import Settings, counters
from xhmtp_wsgi.agent import make_agent

pytestmark = pytest.mark.xdist_group("contrib")

FILES = sorted(
    file for file in CONTRIB.rglob("*") if file.is_file() and "__pycache__" not in file.parts
)
PAGES = ROOT / "docs" / "servers"


def run(*command: str) -> str:
    """What a program printed, if it is content."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[Gunicorn]:
    """An agent under gunicorn, which writes the logs and tells the figures."""
    with directory_in_memory() as directory, name_server() as dns:
        made = Gunicorn("a.example", "127.0.0.1", directory / "a", dns.port)
        dns.set_zone(made.records())
        with running(made):
            yield made


# All files


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONTRIB)))
def test_a_file_says_what_it_is_for_and_leaves_nothing_out(file: Path):
    text = file.read_text()
    assert re.match(r'(#!/bin/sh\n)?(# |; |""")\S', text)
    assert not re.search(r"\.\.\.$|^\s*\.\.\.|TODO|XXX", text, re.MULTILINE)
    assert text.endswith("\n")


def test_every_file_stands_in_a_page_and_every_page_names_files_that_are_there():
    pages = "\n".join(page.read_text() for page in PAGES.glob("*.md"))
    named = set(re.findall(r"contrib/[\w./-]*\w", pages))
    for file in FILES:
        assert str(file.relative_to(ROOT)) in named, f"{file} is in no page of docs/servers"
    for name in named:
        assert (ROOT / name).exists(), name


def test_both_ways_of_apache_take_the_same_care():
    """All that differs is where the code runs."""
    daemon, embedded = (
        set((CONTRIB / "apache" / f"xhmtp-{mode}.conf").read_text().splitlines())
        for mode in ("daemon", "embedded")
    )
    own = {line.split()[0] for line in daemon ^ embedded if re.match(r"\s*[A-Z<]", line)}
    assert own == {"WSGIDaemonProcess", "WSGIProcessGroup", "WSGIPythonHome", "WSGIPythonPath"}


# systemd


def units(directory: Path) -> list[Path]:
    changes = {"/srv/example/venv/bin": str(BIN)}
    written = []
    for file in sorted((CONTRIB / "systemd").iterdir()):
        unit = directory / file.name
        unit.write_text(
            from_contrib(f"systemd/{file.name}", changes if unit.suffix == ".service" else {})
        )
        written.append(unit)
    return written


def test_systemd_finds_no_fault_with_the_units(tmp_path: Path):
    analyze = need("systemd-analyze")
    made = units(tmp_path)
    assert [unit.name for unit in made] == [
        "xhmtp-notify-loop.service", "xhmtp-notify.service", "xhmtp-notify.timer", "xhmtp.service",
    ]  # fmt: skip
    assert run(analyze, "verify", "--recursive-errors=no", *map(str, made)) == ""
    services = [str(unit) for unit in made if unit.suffix == ".service"]
    # 10 would be a unit that may do anything.
    run(analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", *services)


def test_the_notifier_may_do_the_same_whether_it_stays_or_is_started_each_minute():
    """All that differs is when it runs and how it ends."""
    stays, started = (
        set(from_contrib(f"systemd/{name}.service", {}).splitlines())
        for name in ("xhmtp-notify-loop", "xhmtp-notify")
    )
    own = {line.partition("=")[0] for line in stays ^ started if re.match(r"[A-Z]", line)}
    assert own == {
        "Description", "Type", "ExecStart", "Restart", "RestartSec", "RestartPreventExitStatus",
        "TimeoutStartSec", "TimeoutStopSec", "WantedBy",
    }  # fmt: skip


def test_the_notifier_that_stays_goes_on_and_ends_when_it_is_told(tmp_path: Path):
    settings = tmp_path / "xhmtp.toml"
    settings.write_text('database = "sqlite:///xhmtp.db"\n[domain."a.example"]\n')
    unit = from_contrib(
        "systemd/xhmtp-notify-loop.service",
        {"/srv/example/venv/bin": str(BIN), "/etc/xhmtp/xhmtp.toml": str(settings)},
    )
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    (patience,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert float(patience) > Settings.try_deadline, "seconds: the tries on their way may end"
    notifier = subprocess.Popen(command.split(), stderr=subprocess.PIPE, text=True)
    try:
        agent = make_agent(Settings.load(settings))
        until(lambda: "last_pass_ended_at" in counters.read(agent.database), "the first pass")
        first = counters.read(agent.database)["last_pass_ended_at"]
        until(lambda: counters.read(agent.database)["last_pass_ended_at"] > first, "the next one")
        agent.database.close()
        notifier.terminate()
        _, errors = notifier.communicate(timeout=float(patience))
    finally:
        notifier.kill()
    assert (notifier.returncode, errors) == (0, "")


def test_the_notifier_is_not_started_again_for_settings_that_are_wrong(tmp_path: Path):
    settings = tmp_path / "xhmtp.toml"
    settings.write_text("nothing = true\n")
    unit = from_contrib("systemd/xhmtp-notify-loop.service", {})
    (prevents,) = re.findall(r"^RestartPreventExitStatus=(\d+)$", unit, re.MULTILINE)
    program = [str(BIN / "xhmtp-notify"), "--config", str(settings), "--loop", "5"]
    done = subprocess.run(program, capture_output=True, timeout=60, check=False)
    assert done.returncode == int(prevents)


def test_the_timer_starts_the_notifier_each_minute():
    when = re.search(r"^OnCalendar=(.*)$", from_contrib("systemd/xhmtp-notify.timer", {}), re.M)
    assert when is not None
    base = "--base-time=2026-11-24 10:00:30"
    told = run(need("systemd-analyze"), "calendar", base, "--iterations=3", when[1])
    assert re.findall(r"2026-11-24 \d\d:\d\d:\d\d", told)[:3] == [
        f"2026-11-24 10:0{minute}:00" for minute in (1, 2, 3)
    ]


# logrotate


def test_a_log_is_put_aside_and_the_server_goes_on_in_a_new_one(server: Gunicorn, tmp_path: Path):
    program = need("logrotate")
    logs = server.directory / "logs"
    rules = tmp_path / "xhmtp"
    rules.write_text(
        from_contrib(
            "logrotate.d/xhmtp",
            {
                **server.places("/var/log/xhmtp", "/run/xhmtp"),
                "su xhmtp xhmtp": f"su {' '.join(user_here())}",
            },
        )
    )
    rules.chmod(0o644)
    state = str(tmp_path / "state")
    assert "error:" not in run(program, "--debug", "--state", state, str(rules))

    visit(server, "/before")
    access = logs / "access.log"
    until(lambda: "/before" in access.read_text(), "the request is logged")
    run(program, "--force", "--state", state, str(rules))
    until(access.exists, "gunicorn opens a new log")
    visit(server, "/after")
    until(lambda: "/after" in access.read_text(), "the next request is logged")
    assert "/before" in (logs / "access.log.1").read_text()
    assert "/before" not in access.read_text()
    assert not access.stat().st_mode & stat.S_IWOTH


def visit(server: Gunicorn, path: str) -> bytes:
    with urllib.request.urlopen(server.url + path, timeout=10) as answer:
        body: bytes = answer.read()
        return body


# Prometheus and munin


@pytest.fixture(scope="module")
def figures(server: Gunicorn) -> str:
    """What the agent tells after a pass of the notifier."""
    server.must("xhmtp-notify")
    return visit(server, f"/{PREFIX}/metrics").decode()


def test_prometheus_takes_the_configuration_and_the_rules(tmp_path: Path):
    promtool = need("promtool")
    rules = CONTRIB / "prometheus" / "xhmtp.rules.yml"
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(
        from_contrib("prometheus/prometheus.yml", {"/etc/prometheus/xhmtp.rules.yml": str(rules)})
    )
    run(promtool, "check", "config", str(configuration))
    run(promtool, "check", "rules", str(rules))


WELL = {
    "up": "1x90",
    "xhmtp_last_pass_timestamp_seconds": "0+60x90",
    "xhmtp_queue_entries": "3x90",
    "xhmtp_queue_oldest_seconds": "60x90",
    "xhmtp_queue_set_aside": "0x90",
    "xhmtp_failing_destinations": "1x90",
}


@pytest.mark.parametrize(
    ("ill", "alert"),
    [
        ({}, None),
        ({"up": "0x90"}, "XHMTPDown"),
        ({"xhmtp_last_pass_timestamp_seconds": "60x90"}, "XHMTPNotifierStopped"),
        ({"xhmtp_last_pass_timestamp_seconds": None}, "XHMTPNotifierNeverRan"),
        ({"xhmtp_queue_oldest_seconds": "20000x90"}, "XHMTPQueueOld"),
        ({"xhmtp_queue_set_aside": "1x90"}, "XHMTPMessagesSetAside"),
        ({"xhmtp_failing_destinations": "50x90"}, "XHMTPManyDestinationsFail"),
    ],
)
def test_each_alert_is_raised_by_what_it_is_for_alone(
    ill: dict[str, str | None], alert: str | None, tmp_path: Path
):
    promtool = need("promtool")
    severity = {"XHMTPQueueOld": "ticket", "XHMTPManyDestinationsFail": "ticket"}
    labels = f'alertname="{alert}",alertstate="firing",instance="i",job="xhmtp"'
    raised = f'ALERTS{{{labels},severity="{severity.get(str(alert), "page")}"}}'
    case = {
        "interval": "1m",
        "input_series": [
            {"series": f'{name}{{instance="i",job="xhmtp"}}', "values": values}
            for name, values in (WELL | ill).items()
            if values is not None
        ],
        "promql_expr_test": [
            {
                "expr": 'ALERTS{alertstate="firing"}',
                "eval_time": "80m",
                "exp_samples": [{"labels": raised, "value": 1}] if alert else [],
            }
        ],
    }
    rules = str(CONTRIB / "prometheus" / "xhmtp.rules.yml")
    file = tmp_path / "test.yml"  # JSON is YAML
    file.write_text(json.dumps({"rule_files": [rules], "tests": [case]}))
    run(promtool, "test", "rules", str(file))


def test_the_figures_that_rules_and_plugin_ask_for_are_told(figures: str):
    for name in ("prometheus/xhmtp.rules.yml", "munin/xhmtp"):
        asked = set(re.findall(r"\bxhmtp_[a-z_]+\b", from_contrib(name, {})))
        told = set(re.findall(r"^(xhmtp_[a-z_]+)[ {]", figures, re.MULTILINE))
        assert asked
        assert asked <= told, name


def munin(server_url: str, *arguments: str) -> str:
    environment = {**os.environ, "url": server_url}
    done = subprocess.run(
        [str(CONTRIB / "munin" / "xhmtp"), *arguments],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_munin_plugin_tells_the_figures(server: Gunicorn, figures: str):
    need("curl")
    url = f"{server.url}/{PREFIX}/metrics"
    assert munin(url, "autoconf") == "yes\n"
    fields = re.findall(r"^(\w+)\.label ", munin(url, "config"), re.MULTILINE)
    values = dict(re.findall(r"^(\w+)\.value (\S+)$", munin(url), re.MULTILINE))
    assert list(values) == fields
    assert [float(values[name]) for name in ("entries", "set_aside", "failing")] == [0, 0, 0]
    assert -1 < float(values["silent"]) < 5, "minutes"


def test_the_munin_plugin_tells_nothing_of_a_site_that_is_down():
    need("curl")
    url = f"http://127.0.0.1:{free_port()}/{PREFIX}/metrics"
    assert munin(url, "autoconf").startswith("no (")
    assert re.findall(r"\.value (\S+)", munin(url)) == ["U"] * 5


# DNS


@pytest.mark.parametrize("over_tls", [False, True])
def test_nsd_loads_the_lines_in_a_zone(over_tls: bool, tmp_path: Path):
    lines = from_contrib("dns/example.org.zone", {})
    if over_tls:
        lines = lines.replace("; _xhmtps._tcp", "_xhmtps._tcp").replace("_xhmtp._tcp ", "; ")
    (tmp_path / "lines").write_text(lines)
    zone = tmp_path / "example.org"
    zone.write_text(
        "$TTL 3600\n@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\nns A 192.0.2.53\n"
        f"$INCLUDE {tmp_path}/lines\n"
    )
    assert "zone example.org is ok" in run(need("nsd-checkzone"), "example.org", str(zone))
