"""xhmtp send, inbox, read, reply, withdraw, search and fetch, as people meet them at a terminal."""

import email
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from email.message import EmailMessage
from email.policy import default as parsed_by_python
from pathlib import Path
from typing import Any

import pytest

from tests.command_process import start_command
from tests.live.delivery import name_server, sender
from tests.live.servers import AgentServer, running
from xhmtp_wsgi.maildir.files import opened
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox, kept_copies, mailbox
from xhmtp_wsgi.sender import outbox

pytestmark = pytest.mark.xdist_group("terminal_commands")

ALICE, BOB, CAROL = "alice@a.example", "bob@a.example", "carol@a.example"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentServer]:
    """One agent for alice, bob and carol."""
    with name_server() as dns:
        made = sender(tmp_path_factory.mktemp("terminal"), dns.port)
        for address in (BOB, CAROL):
            made.agent().accounts.add(Endpoint.parse(address), None)
        dns.set_zone(made.records())
        with running(made):
            yield made


@pytest.fixture
def a(server: AgentServer) -> AgentServer:
    """The same with empty mailboxes, and nobody to be told."""
    server.must("xhmtp", "queue", "cancel", "--all", "--yes")
    server.must("xhmtp-notify")
    for address in (ALICE, BOB, CAROL):
        inbox.forget(server.agent().database, Endpoint.parse(address))
    return server


def send(a: AgentServer, *arguments: str, text: str = "Dear Bob,\n\nhello.\n") -> str:
    """alice sends to bob, if nothing else is said; the ID."""
    given = ["--to", BOB, *arguments] if "--to" not in arguments else list(arguments)
    if "--subject" not in arguments:
        given += ["--subject", "hello"]
    told = a.must("xhmtp", "send", "--from", ALICE, *given, typed=text)
    a.must("xhmtp-notify")
    return told.strip()


def octets_of(a: AgentServer, identifier: str) -> bytes:
    """A message as alice's agent keeps it."""
    database = a.agent().database
    message = outbox.find(database, identifier)
    assert message is not None
    return b"".join(outbox.octets(database, identifier, 0, message.size))


def sent(a: AgentServer, identifier: str) -> EmailMessage:
    found = email.message_from_bytes(octets_of(a, identifier), policy=parsed_by_python)
    assert isinstance(found, EmailMessage)
    return found


def listed(a: AgentServer, *arguments: str, owner: str = BOB) -> list[dict[str, Any]]:
    return lines_of(a.must("xhmtp", "inbox", owner, "--json", *arguments))


def lines_of(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines()]


def one_line(done: "subprocess.CompletedProcess[str]", code: int) -> str:
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def editor(directory: Path, code: str) -> str:
    """An editor that does this with the file's ``text``."""
    script = directory / "editor.py"
    script.write_text(
        "import pathlib, sys\n"
        "path = pathlib.Path(sys.argv[1])\n"
        f"text = path.read_text()\n{code}\npath.write_text(text)\n"
    )
    return f"{sys.executable} {shlex.quote(str(script))}"


# send


def test_a_new_message_has_what_the_options_say(a: AgentServer, tmp_path: Path):
    (tmp_path / "Plan ü.pdf").write_bytes(b"%PDF\r\n\0")
    (tmp_path / "notes.txt").write_text("notes")
    printed = a.must(
        "xhmtp", "send", "--from", f"Alice <{ALICE}>", "--to", f"Bob <{BOB}>, {CAROL}",
        "--cc", "dan@b.example", "--bcc", "erin@b.example", "--subject", "Grüße", "--json",
        "--attach", str(tmp_path / "Plan ü.pdf"), "--attach", str(tmp_path / "notes.txt"),
        typed="Dear Bob\n",
    )  # fmt: skip
    (told,) = lines_of(printed)
    assert told["new"] is True
    assert [one["address"] for one in told["recipients"]] == [
        BOB, CAROL, "dan@b.example", "erin@b.example",
    ]  # fmt: skip
    message = sent(a, told["id"])
    assert (message["From"], message["To"]) == (f"Alice <{ALICE}>", f"Bob <{BOB}>, {CAROL}")
    assert (message["Cc"], message["Bcc"], message["Subject"]) == ("dan@b.example", None, "Grüße")
    assert message["Message-ID"].endswith("@a.example>")
    text, pdf, notes = list(message.iter_parts())
    assert text.get_content() == "Dear Bob\r\n"
    assert (pdf.get_filename(), pdf.get_content_type()) == ("Plan ü.pdf", "application/pdf")
    assert pdf.get_payload(decode=True) == b"%PDF\r\n\0"
    assert (notes.get_filename(), notes.get_content_type()) == ("notes.txt", "text/plain")


def test_a_message_in_a_file_goes_to_whom_the_options_name(a: AgentServer, tmp_path: Path):
    file = tmp_path / "message.eml"
    file.write_text(f"From: {ALICE}\nTo: {BOB}\nSubject: x\nMessage-ID: <f@a.example>\n\nbody\n")
    (told,) = lines_of(a.must("xhmtp", "send", str(file), "--to", CAROL, "--json"))
    assert [one["address"] for one in told["recipients"]] == [CAROL]
    again = a.run("xhmtp", "send", str(file))
    assert again.stdout.strip() == told["id"]
    assert "not sent again" in again.stderr
    assert sent(a, told["id"]).get_content() == "body\r\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--subject", "x"], 2, "needs --to"),
        (["--subject", "x", "--to", "bob"], 1, "not an address"),
        (["--subject", "x", "--to", "nobody@a.example"], 1, "no such user"),
        (["--subject", "x", "--to", BOB, "--attach", "/nowhere"], 2, "/nowhere"),
        (["/etc/hostname", "--cc", BOB], 2, "for a new one"),
        (["--subject", "x" * 999, "--to", BOB], 1, "998"),
    ],
)
def test_what_cannot_be_sent_is_one_line(
    a: AgentServer, arguments: list[str], code: int, said: str
):
    done = a.run("xhmtp", "send", "--from", ALICE, *arguments, typed="x")
    assert said in one_line(done, code)


def test_a_message_is_written_in_the_editor(
    a: AgentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    change = (
        "head = 'From: alice@a.example\\nTo: bob@a.example\\nCc: \\nBcc: \\nSubject: \\n\\n'\n"
        "assert text == head\n"
        "text = text.replace('Cc: ', 'Cc: Carol\\n  <carol@a.example>')"
        ".replace('Subject: ', 'Subject: In the editor') + 'Dear Bob,\\n\\nhello: there\\n'"
    )
    monkeypatch.setenv("VISUAL", editor(tmp_path, change))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    identifier = a.must("xhmtp", "send", "--from", ALICE, "--to", BOB, "--editor").strip()
    message = sent(a, identifier)
    assert (message["Subject"], message["Cc"]) == ("In the editor", f"Carol <{CAROL}>")
    assert message.get_content() == "Dear Bob,\r\n\r\nhello: there\r\n"
    assert list(tmp_path.glob("xhmtp-*")) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("text = text.replace('To: bob@', 'To: nobody@') + 'x'", "no such user"),
        ("text = text.replace('To: ', 'Whom: ') + 'x'", "line 2"),
        ("text = text.replace('To: bob@a.example', 'To: ') + 'x'", "needs --to"),
        ("text = text + ' '", "neither a subject nor a text"),
    ],
)
def test_what_was_written_and_cannot_be_sent_is_kept(
    a: AgentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, said: str
):
    monkeypatch.setenv("VISUAL", editor(tmp_path, change))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = a.run("xhmtp", "send", "--from", ALICE, "--to", BOB, "--editor")
    assert done.returncode in (1, 2)
    assert said in done.stderr
    (kept,) = tmp_path.glob("xhmtp-*")
    assert f"what you wrote is kept in {kept}" in done.stderr
    assert kept.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("change", ["", "raise SystemExit(3)"])
def test_where_nothing_was_written_nothing_is_sent(
    a: AgentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
):
    monkeypatch.setenv("VISUAL", editor(tmp_path, change))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = a.run("xhmtp", "send", "--from", ALICE, "--to", BOB, "--editor")
    assert done.returncode == 1
    assert done.stdout == ""
    assert list(tmp_path.glob("xhmtp-*")) == []


def on_terminal(
    a: AgentServer, *arguments: str, answer: str, **environment: str
) -> tuple[int, str]:
    """Runs xhmtp at a terminal, answers its question; the exit code, and what the screen shows."""
    keyboard, terminal = pty.openpty()
    code = "from xhmtp_wsgi.commands.xhmtp import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--config", str(a.settings), *arguments],
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    try:
        with suppress(OSError):  # the terminal is gone with the process
            while piece := os.read(keyboard, 65536):
                shown += piece
                if shown.rstrip().endswith(b"[Y/n]:"):
                    os.write(keyboard, f"{answer}\n".encode())
        return process.wait(timeout=60), shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)


def test_at_a_terminal_the_editor_opens_by_itself_and_who_gets_it_is_asked(
    a: AgentServer, tmp_path: Path
):
    add = "text = text.replace('Subject: ', 'Subject: typed') + 'at a terminal'"
    environment = {"VISUAL": editor(tmp_path, add), "TMPDIR": str(tmp_path)}
    arguments = ("send", "--from", ALICE, "--to", BOB)
    code, shown = on_terminal(a, *arguments, answer="n", **environment)
    assert code == 1
    assert f"Send it to {BOB}?" in shown
    assert "is kept in" in shown
    code, shown = on_terminal(a, *arguments, answer="y", **environment)
    assert code == 0
    assert sent(a, shown.split()[-1])["Subject"] == "typed"


# inbox


def test_the_inbox_shows_what_was_done_with_a_message(a: AgentServer):
    for subject in ("first", "second", "third"):
        send(a, "--subject", subject)
    lines = a.must("xhmtp", "inbox", BOB).splitlines()
    assert lines[0].split() == ["NUMBER", "CAME", "FROM", "SUBJECT", "CHECKS"]
    assert [line.split()[0] for line in lines[1:]] == ["3", "2", "1"]
    a.must("xhmtp", "read", BOB, "2")
    star(a, listed(a)[0]["id"])
    lines = a.must("xhmtp", "inbox", BOB).splitlines()
    assert lines[0].split()[-1] == "MARKS"
    assert [re.split("  +", line.strip())[5:] for line in lines[1:]] == [["starred"], ["seen"], []]
    assert [one["number"] for one in listed(a, "--unseen")] == [3, 1]
    assert [one["number"] for one in listed(a, "--starred")] == [3]
    assert [one["number"] for one in listed(a, "--limit", "1")] == [3]


def star(a: AgentServer, identifier: str) -> None:
    database = a.agent().database
    mailbox.set_starred(database, Endpoint.parse(BOB), [identifier], 1.0, starred=True)


def test_folders_are_listed_and_looked_into(a: AgentServer):
    send(a, "--subject", "old")
    send(a, "--subject", "new")
    old = listed(a)[1]["id"]
    mailbox.move(a.agent().database, Endpoint.parse(BOB), [old], "Straße")
    folders = a.must("xhmtp", "inbox", BOB, "--folders").splitlines()
    assert [line.split() for line in folders] == [
        ["FOLDER", "UNSEEN"], ["inbox", "1"], ["archive", "0"], ["trash", "0"], ["Straße", "1"],
    ]  # fmt: skip
    assert listed(a, "--folders")[3] == {"folder": "Straße", "unseen": 1}
    assert [one["subject"] for one in listed(a, "--folder", "Straße")] == ["old"]
    assert [one["subject"] for one in listed(a, "--all")] == ["new", "old"]
    assert [one["subject"] for one in listed(a)] == ["new"]


def test_json_has_all_that_is_known_of_a_message(a: AgentServer):
    identifier = send(a)
    (one,) = listed(a)
    assert one["from"] == ALICE
    assert (one["number"], one["folder"], one["seen"], one["starred"]) == (1, "inbox", False, False)
    assert one["message-id"] == sent(a, identifier)["Message-ID"]
    assert identifier in one["url"]
    assert one["checks"]["origin"]["result"] == "pass"
    assert re.fullmatch("[a-z2-7]{26}", one["id"])


@pytest.mark.parametrize("command", ["inbox", "read", "reply", "search", "fetch"])
def test_a_mailbox_that_is_not_here_is_named(a: AgentServer, command: str, tmp_path: Path):
    more = {"inbox": [], "fetch": ["--maildir", str(tmp_path / "x")]}.get(command, ["1"])
    done = a.run("xhmtp", command, "nobody@a.example", *more)
    assert "no mailbox of nobody@a.example" in one_line(done, 1)


# read


def test_a_message_is_shown_as_text_and_marked_as_seen(a: AgentServer, tmp_path: Path):
    (tmp_path / "plan.pdf").write_bytes(b"%PDF\0")
    identifier = send(a, "--attach", str(tmp_path / "plan.pdf"), text="Grüße,\n\nAlice\n")
    done = a.run("xhmtp", "read", "--leave-unseen", BOB, "1")
    assert done.returncode == 0
    assert done.stdout.splitlines()[:2] == [f"From: {ALICE}", f"To: {BOB}"]
    assert done.stdout.endswith(
        "Subject: hello\n\nGrüße,\n\nAlice\n\n[2: plan.pdf, application/pdf, 5 octets]\n"
    )
    assert "digest: pass" in done.stderr
    assert listed(a)[0]["seen"] is False
    a.must("xhmtp", "read", BOB, listed(a)[0]["id"])
    assert listed(a)[0]["seen"] is True
    assert a.must("xhmtp", "read", BOB, "1", "--part", "2") == "%PDF\0"
    assert "no part 3" in one_line(a.run("xhmtp", "read", BOB, "1", "--part", "3"), 1)
    # In a file of the command process line ends stay as they are.
    printed = tmp_path / "raw"
    command = start_command("xhmtp", "--config", str(a.settings), "read", BOB, "1", "--raw",
                            printed=printed)  # fmt: skip
    assert command.wait() == 0
    assert printed.read_bytes() == octets_of(a, identifier)


def test_a_message_is_told_as_json(a: AgentServer, tmp_path: Path):
    (tmp_path / "plan.pdf").write_bytes(b"%PDF\0")
    send(a, "--attach", str(tmp_path / "plan.pdf"))
    (told,) = lines_of(a.must("xhmtp", "read", BOB, "1", "--json"))
    assert told["header"]["subject"] == "hello"
    assert told["text"] == "Dear Bob,\n\nhello."
    assert told["checks"]["digest"]["result"] == "pass"
    assert told["parts"] == [
        {"number": 1, "type": "text/plain", "name": None, "size": 21},
        {"number": 2, "type": "application/pdf", "name": "plan.pdf", "size": 5},
    ]


def test_nothing_in_a_message_steers_the_terminal(a: AgentServer, tmp_path: Path):
    file = tmp_path / "hostile.eml"
    file.write_bytes(
        b"From: alice@a.example\r\nTo: bob@a.example\r\n"
        b"Subject: =?utf-8?q?=1B]0;title=07=E2=80=AEtfel?=\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n'
        b"--x\r\n\r\n\x1b[2J\x9b31m\xc2\x9b cleared\r\n"
        b'--x\r\nContent-Type: a/b; name="x"\r\n'
        b'Content-Disposition: attachment; filename="../\x1b[31m\xe2\x80\xaegpj.exe"\r\n\r\nz\r\n'
        b"--x\r\nContent-Type: text/html\r\n\r\n"
        b"<script>alert(1)</script><b>bold\x1b[1m</b>\r\n--x--"
    )
    a.must("xhmtp", "send", str(file))
    a.must("xhmtp-notify")
    for command in (["read", BOB, "1"], ["inbox", BOB], ["search", BOB, "alice"]):
        done = a.run("xhmtp", *command)
        assert done.returncode == 0
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", done.stdout + done.stderr)
    assert "bold" in a.must("xhmtp", "read", BOB, "1")
    assert "alert" not in a.must("xhmtp", "read", BOB, "1")


def test_what_was_withdrawn_says_so_unless_a_copy_is_kept(a: AgentServer):
    identifier = send(a)
    notice = listed(a)[0]["id"]
    octets = octets_of(a, identifier)
    a.must("xhmtp", "withdraw", "--yes", identifier)
    assert "withdrawn" in one_line(a.run("xhmtp", "read", BOB, "1"), 1)
    assert listed(a)[0]["seen"] is False
    kept_copies.keep(a.agent().database, notice, octets, (), 1.0)
    assert "Dear Bob" in a.must("xhmtp", "read", BOB, "1")


# reply


def test_a_reply_belongs_to_the_conversation_and_marks_as_seen(a: AgentServer):
    first = send(a, "--cc", CAROL)
    identifier = a.must("xhmtp", "reply", BOB, "1", typed="Dear Alice\n").strip()
    reply = sent(a, identifier)
    assert (reply["From"], reply["To"], reply["Cc"]) == (BOB, ALICE, None)
    assert reply["Subject"] == "Re: hello"
    assert reply["In-Reply-To"] == reply["References"] == sent(a, first)["Message-ID"]
    assert reply.get_content() == "Dear Alice\r\n"
    a.must("xhmtp-notify")
    assert listed(a)[0]["seen"] is True
    (answer,) = listed(a, owner=ALICE)
    assert answer["conversation"] == listed(a)[0]["conversation"]
    # And once more, to all, with what was said.
    identifier = a.must("xhmtp", "reply", CAROL, "1", "--all", "--quote", typed="Me too\n").strip()
    reply = sent(a, identifier)
    assert (reply["To"], reply["Cc"]) == (ALICE, BOB)
    assert re.fullmatch(
        r"Me too\r\n\r\n\r\nOn \d\d \w+ \d{4} at \d\d:\d\d, alice@a.example wrote:\r\n"
        r"> Dear Bob,\r\n>\r\n> hello.\r\n",
        reply.get_content(),
    )


def test_a_reply_is_written_in_the_editor_above_what_was_said(
    a: AgentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    send(a)
    write = "head, text = text.split('\\n\\n', 1); text = head + '\\n\\nDear Alice\\n' + text"
    monkeypatch.setenv("VISUAL", editor(tmp_path, write))
    (tmp_path / "answer.txt").write_text("42")
    identifier = a.must(
        "xhmtp", "reply", BOB, "1", "--editor", "--attach", str(tmp_path / "answer.txt")
    ).strip()
    text, attached = list(sent(a, identifier).iter_parts())
    assert text.get_content().startswith("Dear Alice\r\n")
    assert "> Dear Bob," in text.get_content()
    assert attached.get_filename() == "answer.txt"


def test_what_is_not_to_be_had_can_be_answered(a: AgentServer):
    identifier = send(a)
    a.must("xhmtp", "withdraw", "--yes", identifier)
    done = a.run("xhmtp", "reply", BOB, "1", "--quote", typed="What was it?\n")
    assert done.returncode == 0
    assert "cannot be quoted" in done.stderr
    assert sent(a, done.stdout.strip()).get_content() == "What was it?\r\n"


# withdraw


def test_what_is_withdrawn_is_gone_and_who_had_it_is_told(a: AgentServer):
    read, unread = send(a), send(a, "--subject", "unread")
    a.must("xhmtp", "read", BOB, "1")
    asked = a.run("xhmtp", "withdraw", read)
    assert asked.returncode == 1, "nobody has said yes"
    assert "Withdraw" in asked.stdout
    told = a.must("xhmtp", "withdraw", "--yes", read, unread).splitlines()
    assert [line.split()[0] for line in told] == [read, BOB, unread]
    assert "had fetched it" in told[1]
    assert "was withdrawn" in a.must("xhmtp", "withdraw", "--yes", read)
    (told_again,) = lines_of(a.must("xhmtp", "withdraw", "--yes", "--json", unread))
    assert told_again["withdrawn"]
    assert "no message x" in one_line(a.run("xhmtp", "withdraw", "--yes", "x"), 1)


# search


def test_what_came_and_what_was_sent_is_found(a: AgentServer):
    word = "Zyzzyva"
    identifier = send(a, "--subject", f"The {word} report")
    a.must("xhmtp", "reply", BOB, "1", typed="x")
    a.must("xhmtp-notify")
    lines = a.must("xhmtp", "search", ALICE, "zyzz", "REP").splitlines()
    assert lines[0].split() == ["MESSAGE", "DATE", "WHERE", "WHO", "SUBJECT"]
    assert [line.split()[3] for line in lines[1:]] == ["inbox", "sent"]
    assert [line.split()[4] for line in lines[1:]] == [BOB, BOB]
    assert lines[2].split()[0] == identifier
    found = lines_of(a.must("xhmtp", "search", ALICE, word, "--json"))
    assert [one["subject"] for one in found] == [f"Re: The {word} report", f"The {word} report"]
    assert found[0]["number"] == 1
    assert len(lines_of(a.must("xhmtp", "search", ALICE, word, "--json", "--limit", "1"))) == 1
    assert a.must("xhmtp", "search", CAROL, word, "--json") == ""
    assert a.must("xhmtp", "search", BOB, f'"report {word}"', "--json") == ""


# fetch


def test_new_messages_come_into_a_maildir_silently(a: AgentServer, tmp_path: Path):
    send(a)
    directory = tmp_path / "Maildir"
    arguments = ("xhmtp", "fetch", BOB, "--maildir", str(directory))
    done = a.run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (file,) = (directory / "new").iterdir()
    assert b"\n\nDear Bob," in file.read_bytes()
    (told,) = lines_of(
        a.must("xhmtp", "fetch", CAROL, "--maildir", str(directory), "--json") or "{}"
    )
    assert told == {}
    assert a.must(*arguments, "-v") == "0 new, 0 not to be had\n"
    withdrawn = send(a, "--subject", "regretted")
    a.must("xhmtp", "withdraw", "--yes", withdrawn)
    done = a.run(*arguments)
    assert done.returncode == 0
    assert re.fullmatch(
        r"message 2 from alice@a.example, 'regretted' is not to be had: .*withdrawn.*"
        r"; it is tried again\n",
        done.stderr,
    )
    assert a.run(*arguments).stderr == "", "told once"
    other = str(tmp_path / "other")
    told_all = lines_of(
        a.must("xhmtp", "fetch", BOB, "--maildir", other, "--external-body", "--json")
    )
    assert [one["brought"] for one in told_all] == ["whole", "header"]
    assert "withdrawn" in told_all[1]["reason"]


def test_a_second_fetch_at_the_same_time_leaves_it_to_the_first(a: AgentServer, tmp_path: Path):
    send(a)
    with opened(tmp_path):
        done = a.run("xhmtp", "fetch", BOB, "--maildir", str(tmp_path), "-v")
    assert done.returncode == 0
    assert "is at work" in done.stderr
    assert list((tmp_path / "new").iterdir()) == []
