"""The database's server dies under load, its standby takes over: nothing acknowledged is lost.

Two PostgreSQL with synchronous replication, as Patroni or a managed PostgreSQL run them; the
standby is promoted by hand. The agent's database URL names both (docs/scaling.md).
"""

import http.client
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests.live.delivery import name_server, told, waiting
from tests.live.own_postgresql import OwnPostgreSQL, own_postgresql, standby_of
from tests.live.servers import PREFIX, AgentServer, running, until
from tests.world import basic
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import DatabaseUnavailable
from xhmtp_wsgi.protocol.endpoint import Endpoint

pytestmark = [pytest.mark.live]

ALICE, BOB = "alice@a.example", "bob@b.example"
SETTINGS = "lease = 3\ntry_deadline = 2\nretry_first = 0.5\nretry_longest = 1\n"
EACH = 30  # messages before, and as many after


@dataclass
class Client:
    """Hands in one message after another, each again until it is acknowledged."""

    a: AgentServer
    acknowledged: dict[str, str] = field(default_factory=dict)
    refused: list[tuple[int, str | None]] = field(default_factory=list)
    """Other answers: their code, and Retry-After."""
    ended: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """Goes on until ``ended``."""
        number = 0
        while not self.ended.wait(0.03):
            name = f"{number}.{threading.get_ident()}@a.example"
            with suppress(OSError, http.client.HTTPException):
                self._hand_in(name)
            number += name in self.acknowledged

    def _hand_in(self, name: str) -> None:
        message = f"From: {ALICE}\r\nTo: {BOB}\r\nMessage-ID: <{name}>\r\n\r\nx"
        headers = {"Content-Type": "message/rfc822", "Authorization": basic(ALICE, "wonderland")}
        connection = http.client.HTTPConnection(self.a.address, self.a.port, timeout=30)
        try:
            connection.request("POST", f"/{PREFIX}/alice/", message.encode(), headers)
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        if answer.status in (200, 201):
            self.acknowledged[name] = str(answer.headers["Location"]).rpartition("/")[2]
        else:
            self.refused.append((answer.status, answer.headers["Retry-After"]))


@pytest.fixture
def pair() -> Iterator[tuple[OwnPostgreSQL, OwnPostgreSQL]]:
    with own_postgresql() as primary, standby_of(primary) as standby:
        yield primary, standby


def test_a_failover_loses_nothing_that_was_acknowledged(
    pair: tuple[OwnPostgreSQL, OwnPostgreSQL], quick_path: Path
):
    primary, standby = pair
    places = "&".join(f"host={one.address}:{one.port}" for one in pair)
    database = f"postgresql+psycopg://postgres@/postgres?{places}&target_session_attrs=read-write"
    with name_server() as dns:
        a = AgentServer(
            "a.example", "127.0.0.1", quick_path / "a", dns.port, database=database,
            extra_settings=SETTINGS, options=("--threads", "4"),
        )  # fmt: skip
        b = AgentServer("b.example", "127.0.0.2", quick_path / "b", dns.port)
        dns.set_zone(a.records() + b.records())
        agent, receiving = a.agent(), b.agent()
        agent.accounts.add(Endpoint.parse(ALICE), "wonderland")
        receiving.accounts.add(Endpoint.parse(BOB), None)
        client = Client(a)
        with running(a, b):
            notifier = a.popen("xhmtp-notify", "--loop", "0.1")
            clients = [threading.Thread(target=client.work) for _ in range(2)]
            for thread in clients:
                thread.start()
            try:
                until(lambda: len(client.acknowledged) >= EACH, "work", 60)
                assert primary.process is not None
                primary.process.send_signal(signal.SIGQUIT)
                primary.process.wait(30)
                until(lambda: bool(client.refused), "nothing can be taken", 60)
                with psycopg.connect(standby.url, autocommit=True) as connection:
                    connection.execute("SELECT pg_promote()")
                before = len(client.acknowledged)
                until(lambda: len(client.acknowledged) >= before + EACH, "it goes on", 60)
            finally:
                client.ended.set()
                for thread in clients:
                    thread.join()
            until(lambda: _all_told(agent), "everybody is told", 60)
            notifier.terminate()
            assert notifier.wait(60) == 0, "the same notifier has gone on"
        assert {code for code, _ in client.refused} == {503}
        assert all(after is not None for _, after in client.refused), "and when to come again"
        arrived = Counter(told(receiving, BOB))
        assert set(client.acknowledged.values()) <= set(arrived), "none is lost"
        assert set(arrived.values()) == {1}, "none is told twice"
        agent.database.close()
        receiving.database.close()


def _all_told(agent: Agent) -> bool:
    try:
        return waiting(agent) == 0
    except DatabaseUnavailable:
        return False
