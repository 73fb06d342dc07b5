"""The world of the tests: two agents that are real, joined by a network that is a dict.

Names are asked of a FakeResolver, requests go straight into the other side's WSGI application, and
the clock is held by hand.
"""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from sqlalchemy import text
from webob import Request, Response

from tests.fakes.resolver import FakeResolver
from tests.templates import copy_sqlite
from xhmtp_wsgi import XHMTP, Settings
from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.errors import ConnectionFailed, XHMTPError
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.own_prefixes import known_prefixes
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.rate_limits import buckets
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.sender.notifier import Notifier
from xhmtp_wsgi.sender.notifier_pass import PassReport
from xhmtp_wsgi.wing import Environ, StartResponse

ZONE = """
_xhmtp._tcp.a.example. 60 SRV 0 0 80 server.a.example.
_prefix._xhmtp.a.example. 60 TXT "xhmtp"
server.a.example. 60 A 192.0.2.1
_xhmtp._tcp.b.example. 60 SRV 0 0 80 server.b.example.
_prefix._xhmtp.b.example. 60 TXT "in/box"
server.b.example. 60 A 192.0.2.2
"""
ALICE, BOB = Endpoint.parse("alice@a.example"), Endpoint.parse("bob@b.example")
MESSAGE = b"From: alice@a.example\r\nTo: bob@b.example\r\nSubject: hello\r\n\r\nDear Bob\r\n"


def site(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """The site behind XHMTP: it tells what reached it."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"the site: " + environ["PATH_INFO"].encode("latin-1")]


@dataclass
class Clock:
    """Time that passes when told."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class LoopbackNetwork:
    """Hosts as WSGI applications, or as the error that meeting them ends in."""

    addresses: Mapping[str, str]
    hosts: dict[str, Any] = field(default_factory=dict)
    posts: list[tuple[str, str]] = field(default_factory=list)
    well_known: dict[str, str] = field(default_factory=dict)

    def get(
        self, target: AgentTarget, path: str, headers: Mapping[str, str], **_: Any
    ) -> HTTPAnswer:
        if target.host in self.well_known:
            assert (target.scheme, path) == ("https", "/.well-known/xhmtp")
            return HTTPAnswer(200, {}, self.well_known[target.host].encode())
        host = self.hosts.get(target.host, ConnectionFailed(f"{target.host} is not there"))
        if isinstance(host, XHMTPError):
            raise host
        path, _colon, query = path.partition("?")
        answer = Request.blank(f"{path}?{query}", headers=dict(headers)).get_response(host)
        lowered = {name.lower(): value for name, value in answer.headers.items()}
        return HTTPAnswer(answer.status_int, lowered, answer.body)

    def post(
        self,
        target: AgentTarget,
        path: str,
        body: bytes | memoryview,
        headers: Mapping[str, str],
        *,
        source_host: str | None = None,
        within: float | None = None,
    ) -> HTTPAnswer:
        self.posts.append((target.host, path))
        host = self.hosts.get(target.host, ConnectionFailed(f"{target.host} is not there"))
        if isinstance(host, XHMTPError):
            raise host
        if isinstance(host, HTTPAnswer):
            return host
        request = Request.blank(path, method="POST", body=bytes(body), headers=dict(headers))
        request.environ["REMOTE_ADDR"] = self.addresses.get(source_host or "", "192.0.2.99")
        answer = request.get_response(host)
        lowered = {name.lower(): value for name, value in answer.headers.items()}
        return HTTPAnswer(answer.status_int, lowered, answer.body)


@dataclass
class World:
    """Two sites, what is between them, and the time."""

    a: XHMTP
    b: XHMTP
    resolver: FakeResolver
    network: LoopbackNetwork
    clock: Clock

    def inject(self, message: bytes = MESSAGE, query: str = "", **options: Any) -> Response:
        """alice hands in a message."""
        options.setdefault("content_type", "message/rfc822")
        options.setdefault("authorization", basic("alice@a.example", "wonderland"))
        return call(self.a, f"/xhmtp/alice/{query}", method="POST", body=message, **options)

    def notify(self) -> PassReport:
        """One pass of alice's notifier."""
        return Notifier(self.a.agent).run_pass()

    def feed(self, path: str = "/in/box/bob@b.example", **options: Any) -> Response:
        """bob's feed."""
        options.setdefault("authorization", basic("bob@b.example", "builder"))
        return call(self.b, path, **options)

    def rows(self, agent: Agent | None = None) -> dict[str, int]:
        """How many rows each table has, but for what was learnt of the DNS, and of attempts."""
        tables = [
            table.name for table in metadata.sorted_tables if table not in (known_prefixes, buckets)
        ]
        # As text: dozens of statements for SQLAlchemy to compile take longer than the test itself.
        counts = text("SELECT " + ", ".join(f"(SELECT count(*) FROM {name})" for name in tables))
        with (agent or self.a.agent).database.reading() as connection:
            return dict(zip(tables, connection.execute(counts).one(), strict=True))


def basic(user: str, password: str) -> str:
    """An Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def call(
    application: Any,
    path: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    authorization: str | None = None,
    content_type: str | None = None,
    address: str = "192.0.2.99",
    headers: Mapping[str, str] | None = None,
    environ: Mapping[str, Any] | None = None,
) -> Response:
    """A request straight into a WSGI application."""
    request = Request.blank(path, method=method)
    if body:
        request.body = body
    if content_type is not None:
        request.environ["CONTENT_TYPE"] = content_type
    if authorization is not None:
        request.headers["Authorization"] = authorization
    request.headers.update(headers or {})
    request.environ["REMOTE_ADDR"] = address
    request.environ.update(environ or {})
    return request.get_response(application)


@contextmanager
def make_world(directory: Path, database_url: str) -> Iterator[World]:
    """Two agents; alice's on that database, bob's on the same kind."""
    clock = Clock()
    resolver = FakeResolver(ZONE)
    network = LoopbackNetwork({"server.a.example": "192.0.2.1", "server.b.example": "192.0.2.2"})

    def agent(name: str, url: str) -> Agent:
        if url.startswith("sqlite:///"):
            copy_sqlite(Path(url.removeprefix("sqlite:///")))
        return make_agent(
            Settings.load(
                {
                    "database": url,
                    "domain": {name: {}},
                    "key_directory": str(directory / f"keys of {name}"),
                }
            ),
            resolver=resolver,
            network=network,  # type: ignore[arg-type]
            clock=clock,
            monotonic=clock,
        )

    a = agent("a.example", database_url)
    # On one PostgreSQL both agents share the tables, as an agent of both domains would.
    b = agent(
        "b.example", f"sqlite:///{directory}/b.db" if "sqlite" in database_url else database_url
    )
    for one in (a, b):
        # Slow on purpose, and hundreds of tests ask for passwords.
        one.accounts._passwords._hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    a.accounts.add(ALICE, "wonderland")
    b.accounts.add(BOB, "builder")
    made = World(XHMTP(site, a.settings, agent=a), XHMTP(site, b.settings, agent=b), resolver,
                 network, clock)  # fmt: skip
    network.hosts = {"server.a.example": made.a, "server.b.example": made.b}
    for one in (a, b):
        # The first request waits for the DNS only so long, and a busy machine may take longer.
        one.prefixes.match("/")
        one.prefixes._first_answer.wait(30.0)
    try:
        yield made
    finally:
        for one in (a, b):
            one.counters.write()
            one.database.close()
