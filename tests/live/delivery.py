"""What the tests of delivery share: a sender's queue that is filled, and a name server to match."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import func, select

from demonstration.name_server import NameServer
from tests.fakes.web_server import Script, Visit, WebServer
from tests.live.servers import PREFIX, AgentServer
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.sender.injection import submit
from xhmtp_wsgi.sender.tables import deliveries, messages


@contextmanager
def name_server(zone: str = "") -> Iterator[NameServer]:
    """A real one on loopback, over UDP and TCP."""
    server = NameServer(zone)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def sender(directory: Path, dns_port: int, settings: str = "", database: str = "") -> AgentServer:
    """alice's agent, with an account for her; its web server is not started."""
    a = AgentServer(
        "a.example", "127.0.0.1", directory / "a", dns_port,
        database=database, extra_settings=settings,
    )  # fmt: skip
    a.agent().accounts.add(Endpoint.parse("alice@a.example"), "wonderland")
    return a


def fill(
    agent: Agent,
    recipients: Sequence[str],
    count: int,
    name: str = "m",
    sender: str = "alice@a.example",
) -> list[str]:
    """Hands in so many messages to those recipients; their IDs."""
    to = ",\r\n ".join(recipients)
    return [
        submit(
            agent,
            [f"From: {sender}\r\nTo: {to}\r\nSubject: {name}{number}\r\n\r\nx".encode()],
            sender,
            None,
        ).identifier
        for number in range(count)
    ]


def states(agent: Agent) -> dict[str, int]:
    """How many recipients are in each state, reports left aside."""
    with agent.database.reading() as connection:
        found = connection.execute(
            select(deliveries.c.state, func.count().label("entries"))
            .join(messages)
            .where(~messages.c.is_report)
            .group_by(deliveries.c.state)
        )
        return {row.state: row.entries for row in found}


def waiting(agent: Agent) -> int:
    """How many recipients are still to be told."""
    with agent.database.reading() as connection:
        return connection.execute(
            select(func.count())
            .select_from(deliveries)
            .where(deliveries.c.next_try_at.is_not(None))
        ).scalar_one()


def told(agent: Agent, reader: str) -> list[str]:
    """The IDs of the messages in a reader's inbox, as often as they are there."""
    found = inbox.page(agent.database, Endpoint.parse(reader), newest=10**9, limit=10**9)
    return [MessageURL.parse(notice.url).path.rpartition("/")[2] for notice in found]


def sink_zone(domains: Iterable[str], port: int) -> str:
    """Records that lead these domains to a web server of the test's own."""
    lines = []
    for domain in domains:
        lines.append(f"_xhmtp._tcp.{domain}. 60 SRV 0 0 {port} sink.{domain}.")
        lines.append(f'_prefix._xhmtp.{domain}. 60 TXT "{PREFIX}"')
        lines.append(f"sink.{domain}. 60 A 127.0.0.1")
    return "\n".join(lines) + "\n"


def recipient_of(request: bytes) -> str:
    """Whom a notification is for, by its path."""
    path = request.split(b" ", 2)[1].decode()
    return path.rpartition("/")[2].replace("%40", "@")


def message_of(request: bytes) -> str:
    """The message ID in a notification's URL."""
    url = request.partition(b"\r\n\r\n")[2].partition(b"&")[0]
    return url.rpartition(b"%2F")[2].decode()


__all__ = [
    "Script", "Visit", "WebServer", "fill", "message_of", "name_server", "recipient_of", "sender",
    "sink_zone", "states", "told", "waiting",
]  # fmt: skip
