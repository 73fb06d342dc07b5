"""The promise of docs/delivery.md, against any sequence of answers, crashes, passes and jumps.

A message for which injection answered 201 reaches every recipient that can be reached, once; for
every other one, alice is told why.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import select
from webob import Request

from tests import templates
from tests.fakes.resolver import FakeResolver
from tests.test_delivery import parts, reports
from tests.world import ZONE, basic, call, make_world, site
from xhmtp_wsgi import XHMTP, Settings
from xhmtp_wsgi.agent import make_agent
from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.errors import ConnectionFailed
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.status import WAITING, State
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.sender.notifier import Notifier
from xhmtp_wsgi.sender.tables import deliveries, messages

SECOND = """
_xhmtp._tcp.c.example. 60 SRV 0 0 80 server.c.example.
_prefix._xhmtp.c.example. 60 TXT "xhmtp"
server.c.example. 60 A 192.0.2.3
"""
READERS = [Endpoint.parse(a) for a in ("bob@b.example", "bea@b.example", "cy@c.example")]
ADDRESSES = [*map(str, READERS), "nobody@b.example", "someone@d.example"]
HOUR, DAY = 3600.0, 86400.0


class Killed(BaseException):
    """What the notifier's process dies of."""


BEHAVIOURS = st.sampled_from(
    ["well", "refuses", "cut", "killed before", "killed after", 400, 401, 404, 500, 503, 308]
)


class Promise(RuleBasedStateMachine):
    """alice's agent, bob's and cy's, and everything that may happen between them."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="xhmtp-promise-"))
        self.context = make_world(self.directory, f"sqlite:///{self.directory}/a.db")
        self.world = self.context.__enter__()
        world = self.world
        world.resolver.set_zone(ZONE + SECOND)
        world.b.agent.accounts.add(READERS[1], None)
        templates.copy_sqlite(self.directory / "c.db")
        c_settings = Settings.load(
            {"database": f"sqlite:///{self.directory}/c.db", "domain": {"c.example": {}}}
        )
        self.c = XHMTP(
            site,
            c_settings,
            agent=make_agent(
                c_settings,
                resolver=FakeResolver(ZONE + SECOND),
                clock=world.clock,
                monotonic=world.clock,
            ),
        )
        self.c.agent.accounts.add(READERS[2], None)
        self.hosts = {
            "server.a.example": world.a,
            "server.b.example": world.b,
            "server.c.example": self.c,
        }
        self.behaviour: dict[str, Any] = {}
        self.dead = False
        self.accepted: dict[str, set[str]] = {}
        world.network.post = self.post  # type: ignore[method-assign]
        database = world.a.agent.database
        transaction, reading = database.transaction, database.reading

        def alive(opened: Any) -> Any:
            def open_if_alive() -> Any:
                if self.dead:
                    raise Killed
                return opened()

            return open_if_alive

        database.transaction = alive(transaction)  # type: ignore[method-assign]
        database.reading = alive(reading)  # type: ignore[method-assign]

    def teardown(self) -> None:
        self.everything_ends()
        self.c.agent.counters.write()
        self.c.agent.database.close()
        self.context.__exit__(None, None, None)
        shutil.rmtree(self.directory)

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
        """The way between the agents, as well as it behaves."""
        behaviour = self.behaviour.get(target.host, "well")
        if self.dead or behaviour == "killed before":
            self.dead = True
            raise Killed
        if behaviour == "refuses":
            raise ConnectionFailed(f"{target.host} refuses the connection")
        if isinstance(behaviour, int):
            return HTTPAnswer(behaviour, {"retry-after": "300"}, b"")
        request = Request.blank(path, method="POST", body=body, headers=dict(headers))
        request.environ["REMOTE_ADDR"] = "192.0.2.1"
        answer = request.get_response(self.hosts[target.host])
        if behaviour == "cut":
            raise ConnectionFailed(f"{target.host} ended the connection without an answer")
        if behaviour == "killed after":
            self.dead = True
            raise Killed
        return HTTPAnswer(answer.status_int, {}, answer.body)

    @rule(recipients=st.sets(st.sampled_from(ADDRESSES), min_size=1))
    def inject(self, recipients: set[str]) -> None:
        to = ",\r\n ".join(sorted(recipients)).encode()
        created = self.world.inject(b"From: alice@a.example\r\nTo: " + to + b"\r\n\r\nx\r\n")
        assert created.status_int == 201
        self.accepted[created.json["id"]] = recipients

    @rule(host=st.sampled_from(["server.b.example", "server.c.example"]), how=BEHAVIOURS)
    def behave(self, host: str, how: Any) -> None:
        self.behaviour[host] = how

    @rule()
    def run(self) -> None:
        try:
            Notifier(self.world.a.agent).run_pass()
        except Killed:
            self.dead = False

    @rule(seconds=st.sampled_from([1.0, 70.0, 400.0, HOUR, 5 * HOUR, DAY, HOUR, -HOUR]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.now += seconds

    @precondition(lambda self: self.accepted)
    @rule(which=st.integers(0, 100))
    def withdraw(self, which: int) -> None:
        identifier = sorted(self.accepted)[which % len(self.accepted)]
        answer = call(
            self.world.a,
            f"/xhmtp/alice/{identifier}",
            method="DELETE",
            authorization=basic("alice@a.example", "wonderland"),
        )
        assert answer.status_int == 200

    @invariant()
    def nobody_is_told_twice(self) -> None:
        for reader in READERS:
            told = self.told(reader)
            assert len(told) == len(set(told))

    def told(self, reader: Endpoint) -> list[str]:
        """The IDs of the messages in a reader's feed."""
        agent = (self.world.b if reader.domain == "b.example" else self.c).agent
        found = inbox.page(agent.database, reader, newest=10**6, limit=10**6)
        return [MessageURL.parse(notice.url).path.rpartition("/")[2] for notice in found]

    def everything_ends(self) -> None:
        """Once all is well again, every recipient is told, or alice is told why not."""
        self.behaviour.clear()
        self.dead = False
        for _ in range(60):
            self.world.clock.now += 3 * HOUR
            report = Notifier(self.world.a.agent).run_pass()
            if not report.tried and not self.waiting():
                break
        told = {str(reader): set(self.told(reader)) for reader in READERS}
        reported = self.reported()
        with self.world.a.agent.database.reading() as connection:
            rows = connection.execute(
                select(deliveries).join(messages).where(~messages.c.is_report)
            ).all()
        found: dict[str, set[str]] = {}
        for row in rows:
            found.setdefault(row.message, set()).add(row.recipient)
            assert row.state not in WAITING, row
            if row.state in (State.NOTIFIED, State.FETCHED):
                assert row.message in told[row.recipient], row
            if row.state in (State.REFUSED, State.EXPIRED):
                assert (row.message, row.recipient) in reported, row
            assert row.code is None, "only its hash is kept"
        assert found == self.accepted

    def waiting(self) -> int:
        with self.world.a.agent.database.reading() as connection:
            return len(
                connection.execute(
                    select(deliveries.c.id).where(deliveries.c.state.in_(WAITING))
                ).all()
            )

    def reported(self) -> set[tuple[str, str]]:
        """Whom alice was told of, by message."""
        found = set()
        for report in reports(self.world):
            _, blocks = parts(report)
            for block in blocks[1:]:
                if block["Action"] == "failed":
                    recipient = block["Final-Recipient"].partition("; ")[2]
                    found.add((blocks[0]["Original-Envelope-Id"], recipient))
        return found


TestPromise = Promise.TestCase
TestPromise.settings = settings(
    max_examples=int(os.environ.get("XHMTP_EXAMPLES", "10")),
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
