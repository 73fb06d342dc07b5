"""A group of 1,000 on 50 domains: one stored copy, each told once; one leaves by the header."""

import http.client
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest
from sqlalchemy import func, insert, select

from demonstration.name_server import NameServer
from tests.live.delivery import name_server
from tests.live.servers import BIN, PREFIX, AgentServer, running
from tests.world import basic
from xhmtp_wsgi import groups
from xhmtp_wsgi.accounts import accounts
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox, reading
from xhmtp_wsgi.recipient import tables as inbox_tables
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.sender.tables import deliveries, messages, pieces

pytestmark = [pytest.mark.live]

ALL, DOMAINS = 1000, 50
TEAM = "team@a.example"
AUTHOR, LEAVER = "u0@d0.example", "u7@d7.example"
LARGE = 8 << 20  # octets: a notifier that held a copy for each would show it
MOST_MEMORY = 250.0  # MiB


@dataclass
class Sites:
    """The group's agent, and the one that acts for all fifty domains of its members."""

    a: AgentServer
    b: AgentServer

    def write(self, sender: str, to: str, subject: str, text: str = "Dear all\r\n") -> None:
        """A member hands in a message at his agent, and the group's agent is told."""
        message = f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n{text}"
        connection = http.client.HTTPConnection(self.b.address, self.b.port, timeout=60)
        try:
            connection.request(
                "POST", f"/{PREFIX}/{sender.partition('@')[0]}/", message.encode(),
                {"Content-Type": "message/rfc822", "Authorization": basic(sender, "builder")},
            )  # fmt: skip
            assert connection.getresponse().status == 201
        finally:
            connection.close()
        self.b.must("xhmtp-notify")

    def told(self, member: str) -> list[inbox.Notice]:
        return inbox.page(self.b.agent().database, Endpoint.parse(member), newest=9, limit=9)


def members() -> list[str]:
    return [f"u{number}@d{number % DOMAINS}.example" for number in range(ALL)]


@pytest.fixture
def dns() -> Iterator[NameServer]:
    with name_server() as server:
        yield server


@pytest.fixture
def sites(quick_path: Path, dns: NameServer) -> Iterator[Sites]:
    a = AgentServer("a.example", "127.0.0.1", quick_path / "a", dns.port)
    domains = [f"d{number}.example" for number in range(DOMAINS)]
    b = AgentServer(
        domains[0], "127.0.0.2", quick_path / "b", dns.port,
        more_domains=tuple(domains[1:]), options=("--threads", "4"),
    )  # fmt: skip
    records = [a.records()]
    for domain in domains:
        records.append(
            f"_xhmtp._tcp.{domain}. 60 SRV 0 0 {b.port} server.{domain}.\n"
            f'_prefix._xhmtp.{domain}. 60 TXT "{PREFIX}"\nserver.{domain}. 60 A {b.address}\n'
        )
    dns.set_zone("".join(records))
    agent = b.agent()
    with agent.database.transaction() as connection:
        rows = [{"address": member, "created_at": 0.0} for member in members()]
        connection.execute(insert(accounts), rows)
    for writer in (AUTHOR, LEAVER):
        agent.accounts.set_password(Endpoint.parse(writer), "builder")
    a.must("xhmtp", "group", "add", TEAM, "--title", "The Thousand")
    joined = a.must("xhmtp", "group", "join", TEAM, "-", typed="\n".join(members()))
    assert joined == f"{ALL} joined {TEAM}\n"
    with running(a, b):
        yield Sites(a, b)


def test_a_group_of_a_thousand_on_fifty_domains(sites: Sites, record_property):
    a, b = sites.a, sites.b
    sites.write(AUTHOR, TEAM, "hello", "x" * 78 + "\r\n" + ("y" * 78 + "\r\n") * (LARGE // 80))
    begun = time.monotonic()
    peak = _notify(a)
    record_property("passing on and telling 1,000, seconds", round(time.monotonic() - begun, 2))
    record_property("notifier's peak MiB", round(peak))
    assert peak < MOST_MEMORY

    database, theirs = a.agent().database, b.agent().database
    with database.reading() as connection:
        (stored,) = connection.execute(
            select(messages.c.id, messages.c.size).where(messages.c.sender == TEAM)
        ).all()
        kept = connection.execute(
            select(func.sum(func.length(pieces.c.octets))).where(pieces.c.message == stored.id)
        ).scalar_one()
        assert kept == stored.size > LARGE - 100, "one copy"
        told = connection.execute(select(deliveries.c.recipient, deliveries.c.state)).all()
        assert {(row.recipient, row.state) for row in told} == {
            (member, "notified") for member in members()
        }
        assert len(told) == ALL
        codes = select(func.count(deliveries.c.code_hash.distinct()))
        assert connection.execute(codes).scalar_one() == ALL, "each has a code of his own"
    with theirs.reading() as connection:
        boxes = connection.execute(
            select(func.count(), func.max(inbox_tables.mailboxes.c.last_position)).select_from(
                inbox_tables.mailboxes
            )
        ).one()
        assert boxes == (ALL, 1), "each was told once"

    (notice,) = sites.told(LEAVER)
    octets = reading.read(b.agent(), Endpoint.parse(LEAVER), notice).octets
    assert octets.endswith(b"y" * 78 + b"\r\n")
    address = unquote(fields_of(notice)["list-unsubscribe"][len("<mailto:") : -1])
    sites.write(LEAVER, address, "")
    a.must("xhmtp-notify")
    assert LEAVER not in a.must("xhmtp", "group", "members", TEAM)
    assert [fields_of(one)["subject"] for one in sites.told(LEAVER)] == [
        "You have left The Thousand", "hello",
    ]  # fmt: skip
    sites.write(AUTHOR, TEAM, "again")
    assert groups.work_through(a.agent(), lambda: False) == 1
    with database.reading() as connection:
        waiting = connection.execute(
            select(deliveries.c.recipient).where(deliveries.c.state == "queued")
        ).scalars()
        assert set(waiting) == set(members()) - {LEAVER}


def _notify(server: AgentServer) -> float:
    """One pass in a process of its own; the most memory that it had, in MiB.

    As the system tells it while it runs: what wait4 tells counts the memory of whoever forked.
    """
    program = [str(BIN / "xhmtp-notify"), "--config", str(server.settings)]
    notifier = subprocess.Popen(program, stderr=subprocess.PIPE)
    status, most = Path(f"/proc/{notifier.pid}/status"), 0
    while notifier.poll() is None:
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        most = max(most, int(found[1]) if found else 0)
        time.sleep(0.02)
    assert notifier.stderr is not None
    assert (notifier.returncode, notifier.stderr.read()) == (0, b"")
    assert most
    return most / 1024
