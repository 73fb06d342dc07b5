"""Mail programs that know nothing of us: mutt, notmuch, Dovecot, git send-email and am, cron."""

import imaplib
import mailbox
import os
import pty
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.delivery import name_server, sender
from tests.live.servers import AgentServer, free_port, need, running, until
from xhmtp_wsgi import preferences
from xhmtp_wsgi.protocol.composing import header_fields
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.writing_time import written_at
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.recipient import mailbox as boxes
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.mailbox import Wanted
from xhmtp_wsgi.recipient.notice_text import fields_of

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("mail_programs")]

ROOT = Path(__file__).parents[2]
ALICE, BOB = "alice@a.example", "bob@b.example"


@dataclass
class Sites:
    """alice's agent and bob's."""

    a: AgentServer
    b: AgentServer

    def sendmail(self, site: AgentServer) -> str:
        """What stands for sendmail, as one types it into a configuration."""
        return (
            f"env PYTHONPATH={shlex.quote(str(ROOT))} {sys.executable} "
            f"-m xhmtp_wsgi.commands.sendmail --config {shlex.quote(str(site.settings))}"
        )

    def fetch(self, directory: Path) -> None:
        """What has been sent comes to bob, and into his Maildir."""
        for site in (self.a, self.b):
            assert site.must("xhmtp-notify") == ""
        done = self.b.run("xhmtp", "fetch", BOB, "--maildir", str(directory))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def waiting(self, site: AgentServer, address: str) -> list[Notice]:
        """What is in a mailbox, oldest first."""
        found = boxes.listed(site.agent().database, Endpoint.parse(address), Wanted(), limit=100)
        return sorted(found, key=lambda notice: notice.position)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    directory = tmp_path_factory.mktemp("mail_programs")
    with name_server() as dns:
        a = sender(directory, dns.port)
        b = AgentServer("b.example", "127.0.0.2", directory / "b", dns.port)
        b.agent().accounts.add(Endpoint.parse(BOB), "builder")
        dns.set_zone(a.records() + b.records())
        with running(a, b):
            yield Sites(a, b)


@pytest.fixture
def sites(both: Sites) -> Sites:
    """The same with empty mailboxes."""
    for site, address in ((both.a, ALICE), (both.b, BOB)):
        inbox.forget(site.agent().database, Endpoint.parse(address))
    return both


def subjects(notices: list[Notice]) -> list[str]:
    return [fields_of(notice)["subject"] for notice in notices]


# mutt


@dataclass
class Mutt:
    """mutt with a configuration of its own, and a terminal where it needs one."""

    home: Path
    sendmail: str
    address: str

    def __post_init__(self) -> None:
        self.home.mkdir()
        self.configuration = self.home / "muttrc"
        self.configuration.write_text(
            f'set realname="Älice" from="{self.address}" use_from=yes envelope_from=yes\n'
            f'set sendmail="{self.sendmail} -oem -oi"\n'
            "set mbox_type=Maildir copy=no quit=yes fast_reply=yes include=yes delete=no\n"
            "set edit_headers=no autoedit=yes abort_unmodified=no pipe_decode=yes move=no\n"
            f"set wait_key=no sort=threads charset=utf-8 folder={self.home}\n"
        )

    @property
    def _environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
                "TERM": "vt100", "TMPDIR": str(self.home)}  # fmt: skip

    def send(self, *arguments: str, text: str) -> None:
        """Sends in batch mode."""
        done = subprocess.run(
            [need("mutt"), "-F", str(self.configuration), *arguments],
            input=text, capture_output=True, text=True, timeout=60, check=False,
            env=self._environment,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def type(self, maildir: Path, keys: str, **settings: str) -> None:
        """Opens a Maildir at a terminal and types."""
        keyboard, terminal = pty.openpty()
        given = [f"set {name}={shlex.quote(value)}" for name, value in settings.items()]
        options = [part for one in [*given, f'push "{keys}"'] for part in ("-e", one)]
        process = subprocess.Popen(
            [need("mutt"), "-F", str(self.configuration), "-f", str(maildir), *options],
            stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
            env=self._environment,
        )  # fmt: skip
        os.close(terminal)
        shown: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(keyboard, shown), daemon=True)
        reader.start()
        try:
            code: int | None = process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            process.kill()
            process.wait()
            reader.join(timeout=10)
            os.close(keyboard)
        assert code == 0, b"".join(shown)[-4000:]


def _read_all(keyboard: int, shown: list[bytes]) -> None:
    with suppress(OSError):  # the terminal is gone with the last who had it
        while piece := os.read(keyboard, 65536):
            shown.append(piece)


def test_mutt_sends_reads_flags_and_answers(sites: Sites, tmp_path: Path):
    need("mutt")
    alice = Mutt(tmp_path / "alice", sites.sendmail(sites.a), ALICE)
    (tmp_path / "plan ü.txt").write_text("the plan\n")
    alice.send(
        "-s", "Grüße aus Köln", "-a", str(tmp_path / "plan ü.txt"), "--", f"Bob <{BOB}>",
        text="Dear Bob,\n\nschöne Grüße\n.\nAlice\n",
    )  # fmt: skip
    maildir = tmp_path / "Maildir"
    sites.fetch(maildir)
    (notice,) = sites.waiting(sites.b, BOB)
    assert notice.seen_at is None

    # bob reads it: mutt decodes it for the program that it pipes it to.
    bob = Mutt(tmp_path / "bob", sites.sendmail(sites.b), BOB)
    read = tmp_path / "read"
    bob.type(
        maildir, f"<pipe-message>cat > {read}<enter><flag-message><display-message><exit><quit>"
    )
    text = read.read_text()
    assert "From: Älice <alice@a.example>" in text
    assert "Subject: Grüße aus Köln" in text
    assert "schöne Grüße\n.\nAlice" in text
    assert "the plan" in text
    sites.fetch(maildir)
    (notice,) = sites.waiting(sites.b, BOB)
    assert (notice.seen_at is not None, notice.starred_at is not None) == (True, True)

    # And answers, in an editor that adds a line.
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "Dear Alice" >> "$1"\n')
    editor.chmod(0o755)
    bob.type(maildir, "<reply><send-message><quit>", editor=str(editor))
    sites.fetch(maildir)
    sites.a.must("xhmtp-notify")
    (answer,) = sites.waiting(sites.a, ALICE)
    assert fields_of(answer)["subject"] == "Re: Grüße aus Köln"
    assert answer.thread == notice.thread, "one conversation"
    printed = sites.a.must("xhmtp", "read", ALICE, "1")
    assert "> schöne Grüße" in printed
    assert printed.rstrip().endswith("Dear Alice")
    (file,) = mailbox.Maildir(maildir)
    assert file.get_flags() == "FRS", "mutt has noted the answer"


def test_mutt_says_so_where_it_cannot_send(sites: Sites, tmp_path: Path):
    program = need("mutt")
    mutt = Mutt(tmp_path / "alice", sites.sendmail(sites.a), "eve@elsewhere.example")
    done = subprocess.run(
        [program, "-F", str(mutt.configuration), "-s", "x", "--", BOB],
        input="x", capture_output=True, text=True, timeout=60, check=False,
        env={"HOME": str(mutt.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "77" in done.stderr
    assert "Insufficient permission" in done.stderr


def test_mutt_shows_where_a_body_is_that_was_not_fetched(sites: Sites, tmp_path: Path):
    need("mutt")
    sites.a.must("xhmtp", "send", "--from", ALICE, "--to", BOB, "--subject", "later", typed="body")
    sites.a.must("xhmtp-notify")
    maildir, shown = tmp_path / "Maildir", tmp_path / "shown"
    sites.b.must("xhmtp", "fetch", BOB, "--maildir", str(maildir), "--headers-only")
    bob = Mutt(tmp_path / "bob", sites.sendmail(sites.b), BOB)
    bob.type(maildir, f"<pipe-message>cat > {shown}<enter><quit>")
    text = shown.read_text()
    assert "Subject: later" in text
    assert "This message waits at its sender's agent" in text
    assert "\nhttp://bob%40b.example:" in text
    assert "\nbody\n" not in text
    sites.fetch(maildir)
    bob.type(maildir, f"<pipe-message>cat > {shown}<enter><quit>")
    assert "\nbody\n" in shown.read_text()


# The terminal


def test_what_bobs_choice_keeps_is_read_though_it_is_withdrawn(sites: Sites, tmp_path: Path):
    arguments = ("xhmtp", "send", "--from", ALICE, "--to", BOB, "--subject")
    sent = [sites.a.must(*arguments, name, typed="words\n").strip() for name in ("kept", "not")]
    sites.a.must("xhmtp-notify")
    numbers = {fields_of(notice)["subject"]: str(notice.position)
               for notice in sites.waiting(sites.b, BOB)}  # fmt: skip
    database = sites.b.agent().database
    for name, choice in (("not", "never"), ("kept", "always")):
        preferences.put(database, Endpoint.parse(BOB), "keep", choice)
        assert "words" in sites.b.must("xhmtp", "read", BOB, numbers[name])
    sites.a.must("xhmtp", "withdraw", "--yes", *sent)
    assert "words" in sites.b.must("xhmtp", "read", BOB, numbers["kept"])
    done = sites.b.run("xhmtp", "read", BOB, numbers["not"])
    assert done.returncode == 1
    assert "withdrawn" in done.stderr


# notmuch


def test_notmuch_finds_tags_and_keeps_in_step(sites: Sites, tmp_path: Path):
    program = need("notmuch")
    for number in range(3):
        sites.a.must("xhmtp", "send", "--from", ALICE, "--to", BOB,
                     "--subject", f"Quarterly report {number}", typed="figures\n")  # fmt: skip
    maildir = tmp_path / "mail" / "bob"
    sites.fetch(maildir)
    environment = {
        "HOME": str(tmp_path), "PATH": os.environ["PATH"],
        "NOTMUCH_CONFIG": str(tmp_path / "notmuch"),
    }  # fmt: skip
    (tmp_path / "notmuch").write_text(
        f"[database]\npath={tmp_path / 'mail'}\n[user]\nname=Bob\nprimary_email={BOB}\n"
        "[new]\ntags=unread;new\nignore=.xhmtp-fetch.db;.xhmtp-fetch.db-journal\n[maildir]\nsynchronize_flags=true\n"
    )

    def notmuch(*arguments: str) -> str:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=60, check=False,
            env=environment,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    assert "Added 3 new messages" in notmuch("new")
    assert "Ignoring" not in notmuch("new")
    assert notmuch("count", "from:alice", "and", "subject:quarterly") == "3\n"
    assert notmuch("count", "to:bob", "body:figures", "tag:unread") == "3\n"
    notmuch("tag", "-unread", "+flagged", "--", "subject:1")
    sites.fetch(maildir)
    marked = [(notice.seen_at is not None, notice.starred_at is not None)
              for notice in sites.waiting(sites.b, BOB)
              if fields_of(notice)["subject"] == "Quarterly report 1"]  # fmt: skip
    assert marked == [(True, True)]


# Dovecot, behind which Thunderbird and all that speaks IMAP reads a Maildir


@contextmanager
def dovecot(directory: Path, maildir: Path, user: int) -> Iterator[imaplib.IMAP4]:
    """Debian's Dovecot on that Maildir, and a client that is logged in."""
    port = free_port()
    (directory / "home").mkdir()
    shutil.chown(directory / "home", user)
    (directory / "conf").write_text(f"""
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{maildir}
passdb {{
  driver = static
  args = password=builder
}}
userdb {{
  driver = static
  args = uid={user} gid={user} home={directory}/home
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
""")
    process = subprocess.Popen([need("dovecot"), "-F", "-c", str(directory / "conf")])
    try:
        until(lambda: listens(port), "Dovecot answers")
        client = imaplib.IMAP4("127.0.0.1", port, timeout=30)
        client.login(BOB, "builder")
        yield client
        client.logout()
    finally:
        process.terminate()
        process.wait(timeout=30)


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_dovecot_serves_the_maildir_and_its_flags_come_back(sites: Sites, quick_path: Path):
    need("dovecot")
    if os.geteuid() != 0:
        pytest.skip("Dovecot starts as root")
    nobody = pwd.getpwnam("nobody").pw_uid  # Dovecot serves no mail to root
    quick_path.chmod(0o755)
    sites.a.must("xhmtp", "send", "--from", ALICE, "--to", BOB, "--subject", "Grüße", typed="x")
    maildir = quick_path / "Maildir"
    sites.fetch(maildir)
    for path in (maildir, *maildir.rglob("*")):
        shutil.chown(path, nobody, nobody)
    with dovecot(quick_path, maildir, nobody) as client:
        assert [str(line).split('"')[-1] for line in client.list()[1]] == [" INBOX'"]
        assert client.select()[1] == [b"1"]
        found = client.fetch("1", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)] ENVELOPE)")
        assert "=?utf-8?q?Gr=C3=BC=C3=9Fe?=" in str(found)
        client.store("1", "+FLAGS", r"(\Seen \Flagged)")
        client.close()
    sites.fetch(maildir)
    (notice,) = sites.waiting(sites.b, BOB)
    assert (notice.seen_at is not None, notice.starred_at is not None) == (True, True)


# git send-email


def git(directory: Path, *arguments: str, **options: str) -> str:
    done = subprocess.run(
        [need("git"), *arguments], cwd=directory, capture_output=True, text=True, timeout=120,
        check=False,
        env={
            "HOME": str(directory), "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
            "GIT_AUTHOR_NAME": "Älice", "GIT_AUTHOR_EMAIL": ALICE, "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_COMMITTER_NAME": "Bob", "GIT_COMMITTER_EMAIL": BOB, **options,
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_git_sends_a_series_that_is_one_conversation_and_can_be_applied(
    sites: Sites, tmp_path: Path
):
    if not Path("/usr/lib/git-core/git-send-email").exists():
        pytest.skip("Debian's git-email is not installed (.ci/run installs it)")
    hers, his = tmp_path / "hers", tmp_path / "his"
    hers.mkdir()
    git(hers, "init", "--quiet", "--initial-branch=main")
    (hers / "file.txt").write_text("begin\n")
    git(hers, "add", "file.txt")
    git(hers, "commit", "--quiet", "--message=Begin")
    git(tmp_path, "clone", "--quiet", str(hers), str(his))
    for number in (1, 2, 3):
        with (hers / "file.txt").open("a") as file:
            file.write(f"Zeile {number} ü" + "\n.\n")
        git(hers, "commit", "--quiet", "--all", f"--message=Step {number}: für Bob")
    git(
        hers, "send-email", "--quiet", f"--from=Älice <{ALICE}>", f"--to={BOB}", "--confirm=never",
        f"--sendmail-cmd={sites.sendmail(sites.a)}", "--suppress-cc=all", "-3",
    )  # fmt: skip
    maildir = tmp_path / "Maildir"
    sites.fetch(maildir)
    notices = sites.waiting(sites.b, BOB)
    assert len(notices) == 3
    (thread,) = {notice.thread for notice in notices}
    assert thread
    shown = boxes.conversation(sites.b.agent().database, Endpoint.parse(BOB), thread, 100)
    shown.sort(key=lambda one: written_at(header_fields(one.headers), one.received_at))
    assert subjects(shown) == [f"[PATCH {number}/3] Step {number}: für Bob" for number in (1, 2, 3)]
    files = sorted(
        (maildir / "new").iterdir(), key=lambda file: re.findall(r"PATCH (\d)/3", file.read_text())
    )
    git(his, "am", "--quiet", *map(str, files))
    assert (his / "file.txt").read_text() == (hers / "file.txt").read_text()
    assert git(his, "log", "--format=%an %s", "-3") == git(hers, "log", "--format=%an %s", "-3")


# cron


@contextmanager
def cron(directory: Path, table: str, sendmail: str) -> Iterator[None]:
    """Debian's cron with that table alone, which finds our sendmail: in mounts of its own."""
    if os.geteuid() != 0:
        pytest.skip("cron runs as root")
    program, unshare = need("cron"), [need("unshare"), "--mount", "--propagation", "private"]
    if subprocess.run([*unshare, "mount", "-t", "tmpfs", "x", "/mnt"], check=False).returncode:
        pytest.skip("this container may not have mounts of its own")
    tables, programs, theirs = (directory / name for name in ("cron.d", "sbin", "theirs"))
    for made in (tables, programs, theirs):
        made.mkdir()
    (tables / "job").write_text(table)
    (tables / "job").chmod(0o644)
    (directory / "nothing").touch()
    for entry in Path("/usr/sbin").iterdir():
        (programs / entry.name).symlink_to(theirs / entry.name)
    ours = programs / "sendmail"
    ours.unlink(missing_ok=True)
    # The time that cron is told is not that of our own program.
    ours.write_text(f'#!/bin/sh\nexec env -u LD_PRELOAD -u FAKETIME {sendmail} "$@"\n')
    ours.chmod(0o755)
    begin = (
        f"mount --bind /usr/sbin {theirs} && mount --bind {programs} /usr/sbin && "
        f"mount --bind {tables} /etc/cron.d && mount --bind {directory}/nothing /etc/crontab && "
        'mount -t tmpfs x /var/spool/cron/crontabs && mount -t tmpfs x /run && exec "$@"'
    )
    soon = []
    if shutil.which("faketime"):
        soon = [need("faketime"), "-f", f"+{(58 - time.time() % 60) % 60:.0f}s"]
    process = subprocess.Popen(
        [*unshare, "sh", "-c", begin, "sh", *soon, program, "-f"], start_new_session=True
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def test_what_a_cron_job_prints_arrives(sites: Sites, tmp_path: Path):
    job = "echo 'backup für heute: done'; echo .; echo end"
    with cron(tmp_path, f'MAILTO="{BOB}"\n* * * * * root {job}\n', sites.sendmail(sites.a)):

        def has_arrived() -> bool:
            sites.a.must("xhmtp-notify")
            return bool(sites.waiting(sites.b, BOB))

        until(has_arrived, "cron's mail", 150)
    notice = sites.waiting(sites.b, BOB)[0]
    fields = fields_of(notice)
    assert fields["from"] == "Cron Daemon <root@a.example>"
    assert fields["to"] == BOB
    assert fields["subject"].startswith("Cron <root@")
    printed = sites.b.must("xhmtp", "read", BOB, str(notice.position))
    assert printed.rstrip().endswith("backup für heute: done\n.\nend")
