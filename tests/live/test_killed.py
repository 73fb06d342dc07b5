"""kill -9 at random moments, of the notifier and of both web servers: none lost, none twice."""

import hashlib
import http.client
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import func, select

from demonstration.name_server import NameServer
from tests.live.delivery import fill, name_server, sender, states, told, waiting
from tests.live.servers import PREFIX, AgentServer, running, until
from tests.world import basic
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient.tables import mailboxes
from xhmtp_wsgi.sender.tables import deliveries, messages, pieces

pytestmark = [pytest.mark.live]

DOMAINS = tuple(f"b{number}.example" for number in range(1, 6))
READERS = [f"{name}@{domain}" for domain in DOMAINS for name in ("ann", "bob")]
# Short, so that what a killed notifier held is soon free again.
SETTINGS = "lease = 2\ntry_deadline = 1\nretry_first = 0.5\nretry_longest = 1\n"
KILLS = int(os.environ.get("XHMTP_KILLS", "16"))
MESSAGES = 8 * KILLS  # so that there is work to the last
# Preloaded, so that a worker that was killed is soon there again.
GUNICORN = ("--workers", "2", "--threads", "4", "--preload")


@dataclass
class Ends:
    """Both ends of the wire."""

    a: AgentServer
    b: AgentServer
    sending: Agent
    receiving: Agent

    def told(self) -> int:
        """How many notifications the receiving end has taken."""
        with self.receiving.database.reading() as connection:
            total = select(func.coalesce(func.sum(mailboxes.c.last_position), 0))
            return int(connection.execute(total).scalar_one())

    def delivered(self) -> bool:
        """Works on until nobody waits; was that so?"""
        self.a.must("xhmtp-notify")
        return waiting(self.sending) == 0


@pytest.fixture
def ends(quick_path: Path, request: pytest.FixtureRequest) -> Iterator[Ends]:
    with name_server() as dns:
        yield from _ends(quick_path, dns, *getattr(request, "param", ("", "")))


def _ends(directory: Path, dns: NameServer, sending: str, taking: str) -> Iterator[Ends]:
    a = sender(directory, dns.port, SETTINGS + sending)
    a.options = GUNICORN
    b = AgentServer(
        DOMAINS[0], "127.0.0.2", directory / "b", dns.port,
        more_domains=DOMAINS[1:], options=GUNICORN, extra_settings=taking,
    )  # fmt: skip
    dns.set_zone(a.records() + b.records())
    receiving = b.agent()
    for reader in READERS:
        receiving.accounts.add(Endpoint.parse(reader), None)
    with running(b):
        yield Ends(a, b, a.agent(), receiving)


@pytest.mark.parametrize("ends", [("concurrency = 1", "max_batch = 2")],
                         indirect=True, ids=["slowly"])  # fmt: skip
def test_a_notifier_killed_again_and_again_tells_everybody_once(ends: Ends):
    chance = random.Random()
    identifiers = fill(ends.sending, READERS, MESSAGES)
    at_work = 0
    for _ in range(KILLS):
        notifier = ends.a.fork("xhmtp-notify", "--loop", "0.1")
        if chance.random() < 0.2:
            # As it starts, or has just begun.
            time.sleep(chance.uniform(0.0, 0.8))
        else:
            before = ends.told()
            until(lambda before=before: ends.told() > before, "it tells somebody")  # type: ignore[misc]
            time.sleep(chance.uniform(0.0, 0.1))
            at_work += 1
        notifier.kill()
        notifier.wait()
    assert waiting(ends.sending), "there was work to the last"
    assert at_work >= KILLS / 2
    until(ends.delivered, "everybody is told", 120)
    assert states(ends.sending) == {"notified": MESSAGES * len(READERS)}
    for reader in READERS:
        assert Counter(told(ends.receiving, reader)) == Counter(identifiers)


def test_web_servers_killed_at_both_ends_lose_nothing_that_was_answered(ends: Ends):
    chance = random.Random()
    accepted: list[str] = []
    kills: list[float] = []
    ended = threading.Event()

    def inject() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            with suppress(OSError, http.client.HTTPException):
                accepted.append(_inject(ends.a, f"{threading.get_ident()}.{number}"))

    def kill() -> None:
        seen = (0, 0)
        while not ended.wait(chance.uniform(0.05, 0.3)):
            # Only where it works again since: a slow machine gets as many kills, later.
            now = (len(accepted), ends.told())
            if now[0] > seen[0] and (now[1] > seen[1] or len(kills) % 2):
                seen = now
                kills.append(time.monotonic())
                for server in (ends.a, ends.b):
                    with suppress(OSError, IndexError):
                        os.kill(chance.choice(server.workers()), signal.SIGKILL)

    with running(ends.a):
        notifier = ends.a.fork("xhmtp-notify", "--loop", "0.1")
        threads = [threading.Thread(target=work) for work in (inject, inject, kill)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: len(kills) >= KILLS / 2 and len(accepted) >= 40, "enough", 200)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
            notifier.kill()
            notifier.wait()
    until(ends.delivered, "everybody is told", 120)
    stored = _stored_whole(ends.sending)
    assert set(accepted) <= stored, "each that was answered is there"
    for reader in READERS:
        assert Counter(told(ends.receiving, reader)) == Counter(stored)


def _inject(a: AgentServer, name: str) -> str:
    """One injection; the message's ID if 201 came back. Raises OSError if the connection ended."""
    message = (
        f"From: alice@a.example\r\nTo: {', '.join(READERS[:5])},\r\n {', '.join(READERS[5:])}\r\n"
        f"Message-ID: <{name}@a.example>\r\n\r\n{'x' * 5000}"
    )
    connection = http.client.HTTPConnection(a.address, a.port, timeout=10)
    try:
        headers = {
            "Content-Type": "message/rfc822",
            "Authorization": basic("alice@a.example", "wonderland"),
        }
        connection.request("POST", f"/{PREFIX}/alice/", message.encode(), headers)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    if answer.status != 201:
        raise OSError(answer.status)
    return str(answer.headers["Location"]).rpartition("/")[2]


def _stored_whole(agent: Agent) -> set[str]:
    """The IDs of all messages in the outbox, each of which must be whole."""
    with agent.database.reading() as connection:
        found = connection.execute(select(messages).where(~messages.c.is_report)).all()
        for row in found:
            octets = b"".join(
                connection.execute(
                    select(pieces.c.octets)
                    .where(pieces.c.message == row.id)
                    .order_by(pieces.c.number)
                ).scalars()
            )
            assert hashlib.sha256(octets).digest() == row.digest
            recipients = connection.execute(
                select(deliveries.c.recipient).where(deliveries.c.message == row.id)
            ).scalars()
            assert sorted(recipients) == sorted(READERS)
    return {row.id for row in found}
