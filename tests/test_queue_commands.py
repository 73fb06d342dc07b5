"""xhmtp queue and status, and xhmtp-notify, as an operator meets them."""

import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from tests.fakes.web_server import CREATED, Visit, WebServer
from tests.live.delivery import fill, name_server, sender, sink_zone, states
from tests.live.servers import AgentServer
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands.wording import duration, table, until
from xhmtp_wsgi.sender.tables import deliveries, messages


@pytest.fixture
def a(tmp_path: Path) -> Iterator[AgentServer]:
    """alice's agent, with destinations that take, refuse, and are not there."""

    def script(visit: Visit) -> None:
        while request := visit.request():
            refused = b"%40no.example" in request.split(b"\r\n")[0]
            visit.send(CREATED.replace(b"201 Created", b"404 No") if refused else CREATED)

    with name_server() as dns, WebServer(script) as sink:
        made = sender(tmp_path, dns.port)
        zone = sink_zone(["yes.example", "no.example"], sink.port)
        dns.set_zone(made.records() + zone + sink_zone(["down.example"], 1024 + 7))
        yield made


def listed(a: AgentServer, *arguments: str) -> list[str]:
    return a.must("xhmtp", "queue", "list", *arguments).splitlines()


def test_a_short_queue_is_listed_entry_by_entry(a: AgentServer):
    assert listed(a) == ["nobody is still to be told"]
    (identifier,) = fill(a.agent(), ["bob@down.example"], 1)
    a.must("xhmtp-notify")
    title, entry = listed(a)
    assert title.split()[:3] == ["ID", "SENDER", "RECIPIENT"]
    assert re.match(
        rf"{identifier}  alice@a\.example  bob@down\.example  deferred  +\d+ s +1  in .*"
        r"sink\.down\.example refuses the connection$",
        entry,
    )
    found = json.loads(listed(a, "--json")[0])
    assert (found["id"], found["recipient"]) == (identifier, "bob@down.example")


def test_a_queue_of_ten_thousand_is_listed_by_destination(a: AgentServer):
    agent = a.agent()
    fill(agent, [f"u{number}@down.example" for number in range(9_990)], 1)
    fill(agent, [f"u{number}@yes.example" for number in range(10)], 1)
    lines = listed(a)
    assert len(lines) == 4
    assert lines[0].startswith("10,000 recipients at 2 destinations are still to be told")
    assert lines[2].split()[:2] == ["9,990", "down.example"]
    assert lines[3].split()[:2] == ["10", "yes.example"]
    assert len(listed(a, "yes.example")) == 11
    assert listed(a, "--all", "--limit", "5")[-1] == "... --limit shows more than 5"


def test_retry_and_cancel_say_how_many(a: AgentServer):
    agent = a.agent()
    first, second = fill(agent, ["bob@down.example", "ann@down.example"], 2)
    a.must("xhmtp-notify")
    assert a.must("xhmtp", "queue", "retry", first) == "2 made due\n"
    assert a.must("xhmtp", "queue", "cancel", "--yes", second) == "2 given up\n"
    assert a.must("xhmtp", "queue", "cancel", "--yes", "ann@down.example") == "1 given up\n"
    assert states(agent) == {"deferred": 1, "expired": 3}
    for arguments in ((), ("--all", "down.example")):
        done = a.run("xhmtp", "queue", "retry", *arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_status_tells_of_a_message_and_of_the_agent(a: AgentServer):
    (identifier,) = fill(a.agent(), ["bob@yes.example", "bob@no.example", "bob@down.example"], 1)
    a.must("xhmtp-notify")
    text = a.must("xhmtp", "status", identifier)
    assert re.search(r"bob@yes\.example +notified", text)
    assert re.search(r"bob@no\.example +refused .*sink\.no\.example answered 404", text)
    assert re.search(r"bob@down\.example +deferred", text)
    assert json.loads(a.must("xhmtp", "status", "--json", identifier))["id"] == identifier
    figures = a.must("xhmtp", "status")
    assert re.search(r"^queue_entries +2$", figures, re.MULTILINE), "the report waits too"
    assert re.search(r"^recipients:refused +1$", figures, re.MULTILINE)
    assert json.loads(a.must("xhmtp", "status", "--json"))["failing_destinations"] == 2
    done = a.run("xhmtp", "status", "a" * 26)
    assert (done.returncode, done.stderr) == (1, f"Error: there is no message {'a' * 26}\n")


def test_the_notifier_says_all_when_asked(a: AgentServer):
    fill(a.agent(), ["bob@yes.example", "bob@no.example", "bob@down.example"], 1)
    done = a.run("xhmtp-notify", "--verbose")
    assert "notified 1, refused 1, expired 0, put off 2, senders told 1" in done.stdout
    assert "told bob@yes.example" in done.stderr
    assert "down.example is left alone" in done.stderr


def test_own_records_in_error_are_one_line_for_cron(a: AgentServer):
    fill(a.agent(), ["bob@yes.example"], 1)
    a.settings.write_text(a.settings.read_text().replace('."a.example"', '."other.example"'))
    agent = a.agent()
    with agent.database.transaction() as connection:
        connection.execute(update(messages).values(sender="alice@other.example"))
    done = a.run("xhmtp-notify")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "nobody is told of messages from other.example" in line
    assert states(agent) == {"deferred": 1}


def test_a_bar_shows_on_a_terminal(a: AgentServer):
    fill(a.agent(), [f"u{number}@yes.example" for number in range(120)], 1)
    ours, its = pty.openpty()
    notifier = a.popen("xhmtp-notify", stderr=its, stdout=its)
    os.close(its)
    shown = b""
    try:
        while piece := os.read(ours, 1 << 16):
            shown += piece
    except OSError:
        pass
    os.close(ours)
    assert notifier.wait() == 0
    assert b"telling" in shown
    assert b"120/120" in shown


def test_sigterm_ends_a_pass_cleanly(a: AgentServer):
    agent = a.agent()
    fill(agent, [f"u{number}@yes.example" for number in range(3_000)], 1)
    notifier = a.popen("xhmtp-notify", stderr=subprocess.PIPE)
    while states(agent).get("notified", 0) == 0:
        time.sleep(0.01)
    notifier.send_signal(signal.SIGTERM)
    _, errors = notifier.communicate(timeout=30)
    assert (notifier.returncode, errors) == (0, b"")
    assert 0 < states(agent)["notified"] < 3_000
    assert _leased(agent) == 0, "what was not begun is given back"
    a.must("xhmtp-notify")
    assert states(agent) == {"notified": 3_000}


def _leased(agent: Agent) -> int:
    with agent.database.reading() as connection:
        return connection.execute(
            select(func.count())
            .select_from(deliveries)
            .where(deliveries.c.lease_owner.is_not(None))
        ).scalar_one()


def test_passes_that_overlap_do_no_harm(a: AgentServer):
    agent = a.agent()
    fill(agent, [f"u{number}@yes.example" for number in range(300)], 1)
    results: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda: results.append(a.run("xhmtp-notify"))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    for thread in threads:
        thread.join()
    assert {(done.returncode, done.stdout, done.stderr) for done in results} == {(0, "", "")}
    a.must("xhmtp-notify")
    assert states(agent) == {"notified": 300}


def test_times_and_tables_are_readable():
    assert [duration(seconds) for seconds in (0.5, 59, 60, 3599, 3600, 90000)] == [
        "0 s", "59 s", "1 min", "59 min", "1 h", "1 d",
    ]  # fmt: skip
    assert (until(100, 99.5), until(300, 60)) == ("now", "in 4 min")
    assert list(table(("A", "N>"), [("xyz", "1"), ("x", "23")])) == [
        "A     N",
        "xyz   1",
        "x    23",
    ]
