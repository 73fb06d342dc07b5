"""The commands, as run at a terminal: what they print, and how they end."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests import log_search
from tests.command_process import run_command


def run(
    directory: Path, program: str, *arguments: str, typed: str = ""
) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "XHMTP_CONFIG": ""}
    done = run_command(
        program, *arguments, typed=typed, directory=directory, environment=environment
    )
    log_search.keep(done.stderr)
    return done


@pytest.fixture
def site(tmp_path: Path) -> Path:
    done = run(tmp_path, "xhmtp", "init", "a.example", "--agent", "http://server.a.example",
               "--prefix", "xhmtp")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tmp_path


def failed_in_one_line(done: "subprocess.CompletedProcess[str]", code: int) -> str:
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last
    return last


def test_init_writes_the_settings_and_says_what_to_do_next(tmp_path: Path):
    done = run(tmp_path, "xhmtp", "init", "a.example")
    assert done.returncode == 0
    assert "_prefix._xhmtp.a.example. TXT" in done.stdout
    assert "user add" in done.stdout
    assert stat.S_IMODE((tmp_path / "xhmtp.db").stat().st_mode) == 0o600, "it holds codes"
    again = run(tmp_path, "xhmtp", "init", "a.example")
    assert "is there already" in failed_in_one_line(again, 1)


@pytest.mark.parametrize("domain", ["a_b", "127.0.0.1", "", "a b", 'a"b'])
def test_init_refuses_what_is_no_domain_and_writes_nothing(tmp_path: Path, domain: str):
    failed_in_one_line(run(tmp_path, "xhmtp", "init", domain), 1)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_option_of_init_leaves_no_settings_behind(tmp_path: Path):
    done = run(tmp_path, "xhmtp", "init", "a.example", "--agent", "ftp://x")
    assert "agent" in failed_in_one_line(done, 2)
    assert list(tmp_path.iterdir()) == []


def test_the_life_of_an_account(site: Path):
    assert run(site, "xhmtp", "user", "add", "alice@a.example", "-", typed="x\n").returncode == 0
    assert run(site, "xhmtp", "user", "list").stdout == "alice@a.example\n"
    twice = run(site, "xhmtp", "user", "add", "alice@a.example", "-", typed="x\n")
    assert "already" in failed_in_one_line(twice, 1)
    token = run(site, "xhmtp", "token", "add", "alice@a.example", "--label", "phone")
    assert len(token.stdout.strip()) == 32
    listed = run(site, "xhmtp", "token", "list", "alice@a.example").stdout
    assert "phone" in listed
    assert token.stdout.strip() not in listed
    number = listed.split("\t")[0]
    assert run(site, "xhmtp", "token", "revoke", "alice@a.example", number).returncode == 0
    assert run(site, "xhmtp", "token", "list", "alice@a.example").stdout == ""
    assert (
        run(site, "xhmtp", "user", "password", "alice@a.example", "-", typed="y\n").returncode == 0
    )
    assert run(site, "xhmtp", "user", "remove", "alice@a.example", "--yes").returncode == 0
    assert run(site, "xhmtp", "user", "list").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["user", "add", "alice", "-"], 2),
        (["user", "add", "alice@elsewhere.example", "-"], 1),
        (["user", "remove", "nobody@a.example", "--yes"], 1),
        (["token", "add", "nobody@a.example"], 1),
        (["user", "add", "alice@a.example"], 2),
        (["--config", "/nowhere.toml", "user", "list"], 2),
    ],
)
def test_what_cannot_be_done_is_one_line(site: Path, arguments: list[str], code: int):
    failed_in_one_line(run(site, "xhmtp", *arguments), code)


def test_an_empty_password_is_refused(site: Path):
    done = run(site, "xhmtp", "user", "add", "alice@a.example", "-", typed="\n")
    assert "password" in failed_in_one_line(done, 1)


def test_a_message_is_sent_from_a_file_and_from_options(site: Path):
    (site / "message.eml").write_text(
        "From: alice@a.example\nTo: bob@b.example\nSubject: hello\n\nDear Bob\n"
    )
    sent = run(site, "xhmtp", "send", "message.eml")
    assert len(sent.stdout.strip()) == 26, sent.stderr
    made = run(
        site, "xhmtp", "send", "--from", "alice@a.example", "--to", "carol@c.example",
        "--subject", "Grüße", typed="Dear Carol\n",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    listed = run(site, "xhmtp", "queue", "list").stdout.splitlines()
    assert len(listed) == 3
    assert listed[0].split()[:4] == ["ID", "SENDER", "RECIPIENT", "STATE"]
    identifier = sent.stdout.strip()
    assert listed[1].split()[:4] == [identifier, "alice@a.example", "bob@b.example", "queued"]


@pytest.mark.parametrize(
    "message",
    ["", "no header", "To: bob@b.example\n\nno From", "From: alice@a.example\n\nno To",
     "From: a@a.example\nSubject: x\r\nTo: bob@b.example\n\nmixed"],
)  # fmt: skip
def test_what_is_no_message_is_one_line(site: Path, message: str):
    (site / "message.eml").write_bytes(message.encode())
    failed_in_one_line(run(site, "xhmtp", "send", "message.eml"), 1)


def test_the_notifier_is_silent_when_all_is_well(site: Path):
    done = run(site, "xhmtp-notify")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run(site, "xhmtp-notify", "--verbose").stdout.startswith("notified 0")


def test_the_notifier_that_cannot_work_says_so_in_one_line(site: Path):
    (site / "xhmtp.db").unlink()
    (site / "xhmtp.db").mkdir()
    done = run(site, "xhmtp-notify")
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_without_settings_each_command_says_where_it_looked(tmp_path: Path):
    for program in ("xhmtp-notify", "xhmtp"):
        arguments = ["user", "list"] if program == "xhmtp" else []
        assert "xhmtp.toml" in failed_in_one_line(run(tmp_path, program, *arguments), 2)
