"""`xhmtp check` names what is wrong and what to do: settings, files, database, DNS, work.

One installation that is well, under gunicorn, is broken in one way at a time. What web servers can
do wrong is in test_check_web_servers.
"""

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text, update

from tests.conftest import new_postgresql_database
from tests.fakes.web_server import Authority, WebServer, always
from tests.live.delivery import fill, name_server
from tests.live.installation import Installation
from tests.live.servers import AgentServer, another_clock, free_port, need, running, until
from xhmtp_wsgi import counters
from xhmtp_wsgi.commands.xhmtp import main
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient.authorship import check_agent
from xhmtp_wsgi.sender.tables import deliveries

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("check")]

DOMAIN = "a.example"
Break = Callable[[Installation], AbstractContextManager[object]]


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that is well."""
    directory = tmp_path_factory.mktemp("check")
    with name_server() as dns:
        server = AgentServer(DOMAIN, "127.0.0.1", directory / "a", dns.port)
        server.settings.chmod(0o600)
        made = Installation(server, dns)
        made.prepare()
        made.database.chmod(0o600)
        with running(server):
            yield made


# A healthy one


class TLSServer(AgentServer):
    """gunicorn that speaks TLS."""

    def show(self, certificate: Path) -> None:
        self.options = ("--certfile", str(certificate), "--keyfile", str(certificate))

    def is_up(self) -> bool:
        try:
            socket.create_connection((self.address, self.port), 2).close()
        except OSError:
            return False
        return True


def test_nothing_is_wrong_with_what_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with name_server() as dns:
        server = TLSServer(DOMAIN, "127.0.0.1", tmp_path / "a", dns.port)
        server.settings.chmod(0o600)
        made = Installation(server, dns, scheme="https")
        made.prepare()
        made.database.chmod(0o600)
        authority = Authority(server.directory)
        server.show(authority.certificate(server.host, days=90))
        monkeypatch.setenv("SSL_CERT_FILE", authority.file)
        with running(server):
            said = made.check()
            shown = CliRunner().invoke(main, ["--config", str(server.settings), "check"])
    assert {line["state"] for line in said.lines} == {"ok"}, said.lines
    assert said.code == 0
    assert shown.output.splitlines()[-1].startswith("All is well: ")
    looked_at = {line["check"] for line in said.lines}
    assert looked_at >= {
        "settings", "files.database", "disk", "database", "database.tables", "dns.srv", "dns.host",
        "dns.prefix", "dns.key", "agent", "agent.authorization", "agent.path", "agent.chunked",
        "agent.client-address", "agent.interpreter", "agent.fork", "agent.settings", "tls",
        "clock", "notifier", "queue", "accounts",
    }  # fmt: skip


def test_nothing_is_wrong_with_what_is_well_on_postgresql(tmp_path: Path, postgresql: str):
    for database in new_postgresql_database(postgresql):
        with name_server() as dns:
            server = AgentServer(DOMAIN, "127.0.0.1", tmp_path / "a", dns.port, database=database)
            server.settings.chmod(0o600)
            made = Installation(server, dns)
            made.prepare()
            with running(server):
                said = made.check()
        assert said.wrong() == set(), said.lines
        assert any(line["found"] == "can be read and written" for line in said.lines)


def test_a_finding_is_a_line_and_the_remedy_another(well: Installation):
    with well.published("SRV", "TXT"):
        done = well.server.run("xhmtp", "check")
    assert done.returncode == 1
    assert re.search(r"^broken   dns.srv +a.example: .*no SRV record", done.stdout, re.MULTILINE)
    assert re.search(r"^ +→ publish: _xhmtp._tcp.a.example. SRV 0 0", done.stdout, re.MULTILINE)
    assert re.search(r"^\d+ broken, \d+ to be seen to, \d+ well\.$", done.stdout, re.MULTILINE)
    assert done.stderr == ""


# Settings


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("resolver", "resolvers", "resolvers: there is no such setting"),
        ("database =", "database", "is not TOML"),
        ("sqlite:///", "mysql://", "database: is neither an SQLite nor a PostgreSQL database"),
        (f'[domain."{DOMAIN}"]', "[other]", "other: there is no such setting"),
    ],
)
def test_settings_that_cannot_be_read_are_named(well: Installation, old: str, new: str, fault: str):
    said = well.check(settings=well.changed_settings(old, new))
    assert said.code == 1
    assert fault in said.of("settings")


def test_settings_that_are_not_there_are_said_to_be_missing(well: Installation):
    said = well.check(settings=Path("/no/such/xhmtp.toml"))
    assert "cannot be read" in said.of("settings")


def test_a_proxy_that_is_everybody_is_named(well: Installation):
    changed = well.changed_settings("database", 'trusted_proxies = ["0.0.0.0/0"]\ndatabase')
    said = well.check(settings=changed)
    assert "whoever connects can claim any address" in said.of("settings.proxies")


# Files


def broken_mode(path: Callable[[Installation], Path], mode: int) -> Break:
    @contextmanager
    def broken(well: Installation) -> Iterator[None]:
        file = path(well)
        before = file.stat().st_mode
        file.chmod(mode)
        try:
            yield
        finally:
            file.chmod(before)

    return broken


def key_file(well: Installation) -> Path:
    return next((well.server.directory / "keys").rglob("*.key"))


def test_a_database_that_others_can_read_is_named(well: Installation):
    with broken_mode(lambda one: one.database, 0o644)(well):
        said = well.check()
    assert said.wrong() == {"files.database"}
    assert f"chmod o= {well.database}" in said.of("files.database")


def test_a_key_that_others_can_read_is_named(well: Installation):
    with broken_mode(key_file, 0o644)(well):
        said = well.check()
    assert said.wrong() == {"files.keys", "keys"}
    assert f"chmod 600 {key_file(well)}" in said.of("files.keys")


def test_settings_with_a_password_that_others_can_read_are_named(well: Installation):
    changed = well.changed_settings(
        f"sqlite:///{DOMAIN}.db", f"postgresql://x:secret@127.0.0.1:{free_port()}/x"
    )
    changed.chmod(0o644)
    said = well.check(settings=changed)
    assert "the database's password is in it" in said.of("files.settings")
    assert "secret" not in json.dumps(said.lines)


def test_a_spool_that_cannot_be_written_is_named(well: Installation):
    changed = well.changed_settings("database", 'spool = "/no/such/directory"\ndatabase')
    said = well.check(settings=changed)
    assert "No such file or directory" in said.of("files.spool")


def test_little_room_is_named(well: Installation, tmp_path: Path):
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], check=True)
    try:
        changed = well.changed_settings("database", f'spool = "{small}"\ndatabase')
        said = well.check(settings=changed)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert "MB free of 8" in said.of("disk")


# Database


@contextmanager
def version(well: Installation, value: str) -> Iterator[None]:
    def put(wanted: str) -> None:
        with sqlite3.connect(well.database) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (wanted,))
        connection.close()

    before = well.agent().database.version()
    assert before is not None
    put(value)
    try:
        yield
    finally:
        put(before)


@pytest.mark.parametrize(
    ("found", "remedy"), [("0001", "xhmtp db upgrade"), ("9999", "install the newest xhmtp_wsgi")]
)
def test_tables_of_another_version_are_named(well: Installation, found: str, remedy: str):
    with version(well, found):
        said = well.check()
    assert said.wrong() == {"database.tables"}
    assert remedy in said.of("database.tables")


def test_a_database_that_does_not_answer_is_named(well: Installation):
    changed = well.changed_settings(
        f"sqlite:///{DOMAIN}.db", f"postgresql://x@127.0.0.1:{free_port()}/x"
    )
    said = well.check(settings=changed)
    assert "start PostgreSQL" in said.of("database")


@pytest.mark.parametrize(
    ("octets", "fault"),
    [(b"what a mess" * 1000, "file is not a database"), (None, "is damaged")],
    ids=["garbage", "a page overwritten"],
)
def test_a_damaged_database_is_named(
    well: Installation, tmp_path: Path, octets: bytes | None, fault: str
):
    file = tmp_path / "damaged.db"
    if octets is None:
        with sqlite3.connect(well.database) as source, sqlite3.connect(file) as copy:
            source.backup(copy)
        source.close()
        copy.close()
        octets = file.read_bytes()
        octets = octets[:8192] + b"\xaa" * 8192 + octets[16384:]
    file.write_bytes(octets)
    file.chmod(0o600)
    said = well.check(settings=well.changed_settings(f"{DOMAIN}.db", str(file)))
    assert re.search(f"{fault}|malformed", said.of("database"))
    assert "backup" in said.of("database")


def test_a_database_whose_directory_is_not_there_is_named(well: Installation):
    said = well.check(settings=well.changed_settings(f"{DOMAIN}.db", "/no/such/xhmtp.db"))
    assert "may not be written" in said.of("files.database")
    assert "unable to open" in said.of("database")


# The DNS


@pytest.mark.parametrize(
    ("old", "new", "check", "fault", "remedy"),
    [
        ("SRV", "TXT", "dns.srv", "has no SRV record", "_xhmtp._tcp.a.example. SRV 0 0 80"),
        ("server.a.example.\n", ".\n", "dns.srv", "takes no messages", "publish: "),
        ("server.a.example. 60 A", "other.a.example. 60 A", "dns.host", "has no address",
         "server.a.example. A ADDRESS"),
        ('TXT "xhmtp"', 'TXT "x/../y"', "dns.prefix", "the TXT record of", "publish just one"),
        ('TXT "xhmtp"', 'TXT "xhmtp"\n_prefix._xhmtp.a.example. 60 TXT "other"', "dns.prefix",
         "several TXT records", "publish just one"),
        ('TXT "v=xhmtp1', 'TXT "v=xhmtp9', "dns.key", "at k2", "publish: k2"),
        ("._key._xhmtp.a.example.", "._key._xhmtp.b.example.", "dns.key", "no key records",
         "._key._xhmtp.a.example. TXT"),
    ],
)  # fmt: skip
def test_records_that_are_missing_or_wrong_are_named(
    well: Installation, old: str, new: str, check: str, fault: str, remedy: str
):
    with well.published(old, new):
        said = well.check()
    assert check in said.wrong()
    assert fault in said.of(check)
    assert remedy in said.of(check)


def test_another_key_under_our_name_is_named(well: Installation):
    with well.published("p=", "p=AAAA"):
        said = well.check()
    assert said.wrong() == {"dns.key"}


@pytest.mark.parametrize(
    ("line", "check", "fault"),
    [
        ('agent = "http://www.a.example"', "dns.agent", "agent in the settings is http://www."),
        ('agent = "http://server.a.example"', "dns.srv", "but agent in the settings is"),
        ('agent = "https://server.a.example"', "dns.srv", "_xhmtps._tcp.a.example. SRV 0 0 443"),
        ('prefix = "in/box"', "dns.prefix", "prefix in the settings is in/box"),
    ],
)
def test_records_that_differ_from_the_settings_are_named(
    well: Installation, line: str, check: str, fault: str
):
    changed = well.changed_settings(f'[domain."{DOMAIN}"]', f'[domain."{DOMAIN}"]\n{line}')
    said = well.check(settings=changed)
    assert fault in said.of(check)
    assert "take " in said.of(check)


def test_a_host_of_our_messages_that_no_record_names_is_said_to_fail_everywhere(well: Installation):
    elsewhere = 'agent = "http://www.a.example"'
    changed = well.changed_settings(f'[domain."{DOMAIN}"]', f'[domain."{DOMAIN}"]\n{elsewhere}')
    said = well.check(settings=changed)
    assert said.wrong() == {"dns.agent", "agent.settings"}
    assert "the check agent fails at every agent" in said.of("dns.agent")
    named = f"http://server.a.example:{well.server.port}"
    assert f'agent = "{named}", or take agent out' in said.of("dns.agent")
    assert "publish: _xhmtp._tcp.a.example. SRV 0 0 80 www.a.example." in said.of("dns.agent")
    # It is as the finding says: a receiver asks the same records.
    url = MessageURL.parse("http://bob%40b.example:code@www.a.example/xhmtp/alice/1")
    assert check_agent(url, DOMAIN, well.agent().discovery).result == "fail"


def test_an_address_that_others_refuse_is_named(well: Installation):
    changed = well.changed_settings('allow_networks = ["127.0.0.0/8"]', "allow_networks = []")
    said = well.check(settings=changed)
    assert said.wrong() == {"dns.host", "agent.settings"}
    assert "127.0.0.1, a loopback address" in said.of("dns.host")


def test_a_name_server_that_fails_is_named(well: Installation):
    well.dns.faults[f"_xhmtp._tcp.{DOMAIN}"] = "servfail"
    try:
        said = well.check()
    finally:
        well.dns.faults.clear()
    assert said.wrong() == {"dns"}
    assert "see that the name servers" in said.of("dns")


def test_a_host_outside_the_domain_that_nobody_vouches_for_is_named(well: Installation):
    host = "server.elsewhere.example."
    with well.published("server.a.example.", host):
        said = well.check()
    assert said.wrong() == {"vouched"}
    assert 'the line "agent: server.elsewhere.example"' in said.of("vouched")


def test_no_key_at_all_is_named(well: Installation, tmp_path: Path):
    other = AgentServer(DOMAIN, "127.0.0.1", tmp_path / "a", well.dns.port)
    said = well.check(settings=other.settings)
    assert "xhmtp key add a.example" in said.of("keys")
    assert "has never run" in said.of("notifier")
    assert "* * * * *  xhmtp-notify" in said.of("notifier")
    assert "xhmtp user add you@a.example" in said.of("accounts")


def test_the_secret_of_a_key_that_is_not_on_this_host_is_missed(well: Installation):
    kept = key_file(well).with_suffix(".kept")
    file = key_file(well).rename(kept).with_suffix(".key")
    try:
        said = well.check()
    finally:
        kept.rename(file)
    assert said.wrong() == {"keys"}
    assert "copy it into" in said.of("keys")


# The work


@contextmanager
def last_pass(well: Installation, ago: float) -> Iterator[None]:
    agent = well.agent()
    before = counters.read(agent.database)["last_pass_ended_at"]

    def put(value: float) -> None:
        with agent.database.transaction() as connection:
            counters.put(connection, {"last_pass_ended_at": value})

    put(agent.clock() - ago)
    try:
        yield
    finally:
        put(before)


def test_a_notifier_that_is_not_run_any_more_is_named(well: Installation):
    with last_pass(well, 7200):
        said = well.check()
    assert said.wrong() == {"notifier"}
    assert "ran last 120 minutes ago" in said.of("notifier")


def test_a_clock_that_was_set_back_is_named(well: Installation):
    with last_pass(well, -7200):
        said = well.check()
    assert said.wrong() == {"clock"}
    assert "ahead of this clock" in said.of("clock")


@contextmanager
def one_waiting(well: Installation, **values: object) -> Iterator[None]:
    agent = well.agent()
    (identifier,) = fill(agent, ["bob@b.example"], 1)
    entry = deliveries.c.message == identifier
    with agent.database.transaction() as connection:
        connection.execute(update(deliveries).where(entry).values(**values))
    try:
        yield
    finally:
        with agent.database.transaction() as connection:
            connection.execute(text("DELETE FROM delivery"))


def test_an_old_queue_is_named_with_the_domain_that_it_waits_for(well: Installation):
    long_ago = well.agent().clock() - 5 * 3600
    with one_waiting(well, queued_at=long_ago, last_answer="503 Not now", tries=3):
        said = well.check()
    assert said.wrong() == {"queue"}
    assert "has waited for 5 h; most of them for b.example: 503 Not now" in said.of("queue")


def test_entries_that_were_set_aside_are_named(well: Installation):
    with one_waiting(well, internal_failures=9):
        said = well.check()
    assert said.wrong() == {"queue"}
    assert "xhmtp queue list" in said.of("queue")


# The agent, as far as it is the same under every web server


def test_a_web_server_that_is_not_there_is_named(well: Installation):
    with well.published(f" {well.server.port} ", f" {free_port()} "):
        said = well.check()
    assert said.wrong() == {"agent"}
    assert "start the web server" in said.of("agent")


@pytest.mark.parametrize(
    ("answer", "fault", "remedy"),
    [
        (b"404 Not Found", "the site's own answer", "application = XHMTP(site"),
        (b"301 Moved Permanently\r\nLocation: https://www.a.example/", "sends elsewhere",
         "publish the place itself"),
        (b"401 Unauthorized\r\nWWW-Authenticate: Basic", "before the request reaches XHMTP",
         "access control"),
        (b"502 Bad Gateway", "answers 502", "its log has the reason"),
    ],
)  # fmt: skip
def test_what_answers_in_our_place_is_named(
    well: Installation, answer: bytes, fault: str, remedy: str
):
    whole = b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\n\r\n"
    with (
        WebServer(always(whole)) as other,
        well.published(f" {well.server.port} ", f" {other.port} "),
    ):
        said = well.check()
    assert said.wrong() == {"agent"}
    assert fault in said.of("agent")
    assert remedy in said.of("agent")


def test_a_web_server_that_has_other_settings_is_named(well: Installation):
    said = well.check(settings=well.changed_settings("database", "page_size = 7\ndatabase"))
    assert said.wrong() == {"agent.settings"}
    assert "other settings than this command: page_size" in said.of("agent.settings")


def test_a_web_server_on_another_database_is_named(well: Installation, tmp_path: Path):
    copy = tmp_path / "copy.db"
    with sqlite3.connect(well.database) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    copy.chmod(0o600)
    said = well.check(settings=well.changed_settings(f"{DOMAIN}.db", str(copy)))
    assert said.wrong() == {"agent"}
    assert "from another database than this command uses" in said.of("agent")


def test_a_web_server_whose_clock_is_off_is_named(tmp_path: Path):
    environment = another_clock("+90s")
    with name_server() as dns:
        server = AgentServer(DOMAIN, "127.0.0.1", tmp_path / "a", dns.port, forked=False)
        made = Installation(server, dns)
        made.prepare()
        made.database.chmod(0o600)
        server.environment = environment
        with running(server):
            said = made.check()
    assert said.wrong() == {"clock"}
    assert "ahead of this one" in said.of("clock")


PRELOADED = """\
from xhmtp_wsgi.wsgi import application

application.agent.accounts.all()
"""


def test_a_database_that_was_opened_before_the_fork_is_named(tmp_path: Path):
    (tmp_path / "preloaded.py").write_text(PRELOADED)
    with name_server() as dns:
        server = AgentServer(
            DOMAIN, "127.0.0.1", tmp_path / "a", dns.port,
            application="preloaded:application", options=("--preload", "--chdir", str(tmp_path)),
        )  # fmt: skip
        made = Installation(server, dns)
        made.prepare()
        made.database.chmod(0o600)
        with running(server):
            said = made.check()
    assert said.wrong() == {"agent.fork"}
    assert "without --preload" in said.of("agent.fork")


# Elsewhere, and what is to be published


def test_another_domain_is_looked_at_as_a_message_finds_it(well: Installation):
    other = "b.example"
    well.more_records = (
        f"_xhmtp._tcp.{other}. 60 SRV 0 0 {well.server.port} server.{DOMAIN}.\n"
        f'_prefix._xhmtp.{other}. 60 TXT "xhmtp"\n'
        f"_xhmtp._tcp.c.example. 60 SRV 0 0 {free_port()} server.{DOMAIN}.\n"
    )
    with well.published("SRV", "SRV"):
        wrong_domain = well.check(other)
        nobody = well.check("c.example")
        missing = well.check("nobody.example")
    well.more_records = ""
    assert "answers 421 where a feed wants its owner's password" in wrong_domain.of("agent")
    assert wrong_domain.code == 0
    assert "refuses the connection" in nobody.of("agent") or "refused" in nobody.of("agent")
    assert missing.code == nobody.code == 1
    assert "knows no domain" in missing.of("dns")


def test_a_domain_that_is_well_is_said_to_be(well: Installation, tmp_path: Path):
    elsewhere = AgentServer("z.example", "127.0.0.1", tmp_path / "z", well.dns.port)
    said = well.check(DOMAIN, settings=elsewhere.settings)
    assert said.wrong() == set(), said.lines
    assert [line["check"] for line in said.lines] == ["dns", "agent", "clock"]


def test_the_records_are_lines_that_a_name_server_takes(well: Installation, tmp_path: Path):
    printed = well.server.must("xhmtp", "dns")
    assert printed.startswith(f"; {DOMAIN}\n")
    assert len(re.findall("; published$", printed, re.MULTILINE)) == 3
    with well.published("SRV", "TXT"):
        assert "; to be published" in well.server.must("xhmtp", "dns", DOMAIN)
    zone = tmp_path / "zone"
    zone.write_text(
        f"$TTL 3600\n@ SOA ns.{DOMAIN}. hostmaster.{DOMAIN}. 1 3600 600 86400 60\n"
        f"@ NS ns.{DOMAIN}.\nns A 127.0.0.1\n{printed}"
    )
    done = subprocess.run(
        [need("nsd-checkzone"), DOMAIN, str(zone)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_self_test_tells_is_for_the_check_alone(well: Installation):
    url = f"{well.server.url}/xhmtp/selftest"
    for arguments in ([], ["-H", "XHMTP-Self-Test: guess"], ["--data", "x"]):
        told = well.server.curl("--write-out", "%{http_code}", *arguments, url)
        assert told.stdout.endswith(b"404"), told.stdout


def test_the_real_command_ends_with_0_or_1(well: Installation):
    command = shutil.which("xhmtp", path=str(Path(sys.executable).parent))
    assert command is not None
    until(lambda: well.server.run("xhmtp", "check").returncode == 0, "all is well")
    with well.published("SRV", "TXT"):
        assert well.server.run("xhmtp", "check", "--json").returncode == 1
