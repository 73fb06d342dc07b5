"""xhmtp-sendmail takes what programs write to sendmail(8), and exits as sysexits.h has it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import log_search
from tests.command_process import run_command
from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.commands.own_mailbox import user_name
from xhmtp_wsgi.commands.sendmail_arguments import Asked, Misused, parse_arguments
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.settings import Settings

MESSAGE = "From: alice@a.example\nTo: bob@b.example\nSubject: hello\n\nDear Bob\n"
SETTINGS = '[domain."a.example"]\nagent = "http://server.a.example"\nprefix = "x"\n'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sendmail")
    (directory / "xhmtp.toml").write_text(SETTINGS)
    return directory


@pytest.fixture(scope="module")
def agent(site: Path) -> Agent:
    made = make_agent(Settings.load(site / "xhmtp.toml"))
    for name in ("alice", "root"):
        made.accounts.add(Endpoint.parse(f"{name}@a.example"), None)
    return made


def run(
    site: Path, *arguments: str, typed: str = MESSAGE, config: str = ""
) -> "subprocess.CompletedProcess[str]":
    done = run_command(
        "xhmtp-sendmail", *arguments, typed=typed, directory=site,
        environment={**os.environ, "XHMTP_CONFIG": config},
    )  # fmt: skip
    log_search.keep(done.stderr)
    return done


def send(site: Path, agent: Agent, *arguments: str, typed: str = MESSAGE) -> tuple[str, list[str]]:
    """Sends; the message as it is kept, and its recipients."""
    done = run(site, "-v", *arguments, typed=typed)
    assert (done.returncode, done.stderr) == (0, "")
    identifier = done.stdout.strip()
    message = outbox.find(agent.database, identifier)
    assert message is not None
    octets = b"".join(outbox.octets(agent.database, identifier, 0, message.size))
    recipients = [one.recipient for one in outbox.statuses(agent.database, identifier)]
    return octets.decode(), recipients


def failed(done: "subprocess.CompletedProcess[str]", code: int) -> str:
    assert done.returncode == code, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("xhmtp-sendmail: ")
    return line


# How programs call it


@pytest.mark.parametrize(
    "arguments",
    [
        ["bob@b.example"],
        ["-i", "--", "bob@b.example"],
        ["-oi", "-oem", "-B8BITMIME", "bob@b.example"],  # mutt
        ["-oem", "-oi", "-f", "alice@a.example", "--", "bob@b.example"],  # mutt
        ["-t", "-i"],  # PHP
        ["-i", "-t", "-falice@a.example"],
        ["-ti", "-F", "Alice", "-N", "failure,delay", "-R", "hdrs", "-V", "xyz"],
        ["-bm", "-odb", "-oMrxyz", "-O", "DeliveryMode=b", "-h", "3", "-U", "-G", "bob@b.example"],
        ["-it", "-L", "tag", "-X", "/dev/null", "-A", "m"],
    ],
)
def test_programs_call_it_as_they_call_sendmail(site: Path, agent: Agent, arguments: list[str]):
    octets, recipients = send(site, agent, *arguments)
    assert recipients == ["bob@b.example"]
    assert octets.startswith("From: alice@a.example\r\nTo: bob@b.example\r\nSubject: hello\r\n")
    assert octets.endswith("\r\n\r\nDear Bob\r\n")


def test_it_is_silent(site: Path, agent: Agent):
    done = run(site, "bob@b.example")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_with_t_arguments_are_recipients_too_and_each_is_told_once(site: Path, agent: Agent):
    message = MESSAGE.replace("Subject", "Cc: carol@c.example\nBcc: dan@d.example\nSubject")
    octets, recipients = send(site, agent, "-t", "erin@e.example", "bob@b.example", typed=message)
    assert recipients == [
        "bob@b.example", "carol@c.example", "dan@d.example", "erin@e.example",
    ]  # fmt: skip
    assert "dan@" not in octets
    assert "erin@" not in octets


def test_without_t_only_arguments_are_recipients(site: Path, agent: Agent):
    assert send(site, agent, "carol@c.example, Dan <dan@d.example>")[1] == [
        "carol@c.example", "dan@d.example",
    ]  # fmt: skip


def test_cron_is_understood(site: Path, agent: Agent):
    cron = (
        "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> echo grün\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
        "Content-Transfer-Encoding: 8bit\nX-Cron-Env: <SHELL=/bin/sh>\n\nhello\n"
    )
    octets, recipients = send(
        site, agent, "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root", typed=cron
    )
    assert recipients == ["root@a.example"]
    assert octets.startswith("From: Cron Daemon <root@a.example>\r\nTo: root@a.example\r\n")
    assert "Subject: Cron <root@host> echo grün\r\n" in octets


def test_the_sender_is_from_or_f_or_who_runs_it(site: Path, agent: Agent):
    bare = "Subject: x\n\nbody\n"
    assert send(site, agent, "-f", "other@a.example", "b@b.example")[0].startswith(
        "From: alice@a.example"
    )
    given = ("-f", "<alice@a.example>", "-F", "Älice", "b@b.example")
    octets, _ = send(site, agent, *given, typed=bare)
    assert octets.startswith("From: =?utf-8?q?=C3=84lice?= <alice@a.example>\r\n")
    assert send(site, agent, "-f", "alice", "b@b.example", typed=bare)[0].startswith(
        "From: alice@a.example\r\n"
    )
    octets, _ = send(site, agent, "-f", "<>", "b@b.example", typed=bare)
    assert octets.startswith(f"From: {user_name()}@a.example\r\n")


@pytest.mark.parametrize(
    ("typed", "body"),
    [
        ("no header at all\nsecond\n", "no header at all\r\nsecond\r\n"),
        ("", ""),
        ("\n\nafter empty lines\n", "\r\nafter empty lines\r\n"),
        ("Subject: x\nX-No-Empty-Line: here\nSo it is over\n", "So it is over\r\n"),
        ("From someone Mon Jan  1\nSubject: x\n\nbody\n", "body\r\n"),
        ("Subject: x\r\n\r\nof Windows\r\nbody\n", "of Windows\r\nbody\r\n"),
        ("Subject: x\n folded\n \t\n\nbody\n", "body\r\n"),
        ("Subject: a\x07b\x1b[31m\n\nbody\n", "body\r\n"),
        ("Subject: x\nBcc: \nTo:\n\nbody\n", "body\r\n"),
    ],
)
def test_what_is_no_proper_message_is_mended(site: Path, agent: Agent, typed: str, body: str):
    octets, _ = send(site, agent, "-i", "-f", "alice", "bob@b.example", typed=typed)
    header, _, found = octets.partition("\r\n\r\n")
    assert found == body
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", header)


def test_latin_1_in_a_header_is_read_as_such(site: Path, agent: Agent, tmp_path: Path):
    file = tmp_path / "message"
    file.write_bytes("From: alice@a.example\nSubject: grün\n\nbody\n".encode("latin-1"))
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" < "$0"', str(file), *_own_process("-v", "bob@b.example")],
        capture_output=True, text=True, cwd=site, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    message = outbox.find(agent.database, done.stdout.strip())
    assert message is not None
    assert "grün".encode() in message.header


def _own_process(*arguments: str) -> list[str]:
    """Not by the tests' own way to start commands, which give text."""
    return [sys.executable, "-m", "xhmtp_wsgi.commands.sendmail", *arguments]


def test_a_dot_ends_the_message_unless_it_is_ignored(site: Path, agent: Agent):
    typed = "From: alice@a.example\n\none\n..\n.\ntwo\n"
    assert send(site, agent, "b@b.example", typed=typed)[0].endswith("\r\n\r\none\r\n..\r\n")
    for ignoring in ("-i", "-oi", "-ti"):
        octets, _ = send(site, agent, ignoring, "b@b.example", typed=typed)
        assert octets.endswith("one\r\n..\r\n.\r\ntwo\r\n")


def test_a_large_message_passes_whole(site: Path, agent: Agent):
    line = "x" * 70 + "\n"
    typed = "From: alice@a.example\n\n" + line * 60_000
    for options in ("-i",), ():
        octets, _ = send(site, agent, *options, "b@b.example", typed=typed)
        assert octets.partition("\r\n\r\n")[2] == typed.partition("\n\n")[2].replace("\n", "\r\n")


def test_the_settings_are_found_as_by_the_others(site: Path, agent: Agent, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "xhmtp.toml" in failed(run(elsewhere, "b@b.example"), 78)
    settings = str(site / "xhmtp.toml")
    assert run(elsewhere, "b@b.example", config=settings).returncode == 0
    for arguments in (["--config", settings], [f"--config={settings}"], ["-C", settings]):
        assert run(elsewhere, *arguments, "-i", "b@b.example").returncode == 0
    assert run(elsewhere, "--config", "/nowhere.toml", "b@b.example").returncode == 78


# How it ends where it cannot


@pytest.mark.parametrize(
    ("arguments", "typed", "code", "said"),
    [
        ([], MESSAGE, 64, "no recipient"),
        (["-z", "bob@b.example"], MESSAGE, 64, "no option -z"),
        (["--nonsense", "bob@b.example"], MESSAGE, 64, "--nonsense"),
        (["-f"], MESSAGE, 64, "needs a value"),
        (["-bs"], "", 64, "SMTP"),
        (["-bp"], "", 64, "xhmtp queue list"),
        (["-q"], "", 64, "xhmtp-notify"),
        (["-q30m"], "", 64, "xhmtp-notify"),
        (["-bd"], "", 64, "no mail server"),
        (["bob@"], MESSAGE, 67, "not an address"),
        (["nobody@a.example"], MESSAGE, 67, "no such user"),
        (["-t"], "From: alice@a.example\n\nx", 67, "no recipient"),
        (["bob@b.example"], "From: eve@elsewhere.example\n\nx", 77, "act for"),
        (["b@b.example"], "From: alice@a.example\nSender: x@x.example\n\nx", 77, "Sender"),
        (["b@b.example"], "Subject: a\nSubject: b\n\nx", 65, "twice"),
        (["b@b.example"], f"From: alice@a.example\nSubject: {'x' * 2000}\n\n", 65, "octets"),
        (["b@b.example"], "From: a@a.example, b@a.example\n\nx", 65, "2 addresses"),
    ],
)
def test_it_exits_with_the_code_that_programs_look_at(
    site: Path, agent: Agent, arguments: list[str], typed: str, code: int, said: str
):
    assert said in failed(run(site, *arguments, typed=typed), code)


def test_what_may_succeed_later_is_told_as_such(tmp_path: Path):
    (tmp_path / "xhmtp.toml").write_text(SETTINGS)
    (tmp_path / "xhmtp.db").mkdir()
    assert "unable to open" in failed(run(tmp_path, "b@b.example"), 75)


def test_a_message_id_that_was_used_is_sent_once_and_to_nobody_else(site: Path, agent: Agent):
    typed = MESSAGE.replace("Subject", "Message-ID: <once@a.example>\nSubject")
    for _ in range(2):
        assert run(site, "bob@b.example", typed=typed).returncode == 0
    assert "carol@c.example" in failed(run(site, "carol@c.example", typed=typed), 69)


def test_newaliases_and_help_do_nothing_to_the_message(site: Path):
    assert run(site, "-bi").returncode == 0
    told = run(site, "--help").stdout
    assert "RECIPIENT" in told
    assert "-f ADDRESS" in told
    assert run(site, "--version").stdout.startswith("xhmtp-sendmail")


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["-t"], Asked(from_header=True)),
        (["-itv"], Asked(from_header=True, dot_ends=False, verbose=True)),
        (["-oi", "x", "-t"], Asked(["x", "-t"], dot_ends=False)),
        (["-o", "i", "--", "-x"], Asked(["-x"], dot_ends=False)),
        (["-fa@b", "-r", "c@d"], Asked(sender="c@d")),
        (["-d0.1", "-v", "x"], Asked(["x"], verbose=True)),
        (["-"], Asked(["-"])),
        (["-C", "x.toml"], Asked(settings="x.toml")),
    ],
)
def test_arguments_are_read_as_sendmail_reads_them(arguments: list[str], asked: Asked):
    assert parse_arguments(arguments) == asked


def test_an_option_without_its_value_is_misuse():
    for arguments in (["-F"], ["--config"], ["-tf"]):
        with pytest.raises(Misused):
            parse_arguments(arguments)
