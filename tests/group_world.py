"""team@a.example with alice, bob and carla in it: what the tests of groups share."""

from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from urllib.parse import urlencode

from sqlalchemy import func, select

from tests.world import ALICE, BOB, World, call
from xhmtp_wsgi import group_register, groups
from xhmtp_wsgi.group_register import Group, Joining, Writers
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox, reading
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.sender.injection import submit
from xhmtp_wsgi.sender.notifier import Notifier
from xhmtp_wsgi.sender.notifier_pass import PassReport
from xhmtp_wsgi.sender.tables import messages

TEAM = Endpoint.parse("team@a.example")
CARLA = Endpoint.parse("carla@b.example")
TEXT = "Dear all\r\n"


@dataclass
class Team:
    """The two sites, and team@a.example with alice, bob and carla in it; alice owns it."""

    world: World

    @property
    def group(self) -> Group:
        return group_register.the_group(self.world.a.agent.database, TEAM)

    def set(self, writers: Writers | None = None, joining: Joining | None = None) -> None:
        group_register.change(self.world.a.agent.database, TEAM, writers=writers, joining=joining)

    def join(self, *addresses: str, owner: bool = False) -> None:
        group_register.join(
            self.world.a.agent.database, self.group, [Endpoint.parse(one) for one in addresses],
            self.world.clock(), most=1000, is_owner=owner,
        )  # fmt: skip

    def members(self) -> list[str]:
        found = group_register.members_of(self.world.a.agent.database, self.group)
        return [str(one.endpoint) for one in found]

    def write(
        self,
        author: str = "Bob Builder <bob@b.example>",
        to: str = str(TEAM),
        subject: str = "hello",
        more: str = "",
        text: str = TEXT,
    ) -> PassReport:
        """Somebody of b.example writes, and the group's agent is told."""
        header = f"From: {author}\r\nTo: {to}\r\nSubject: {subject}\r\n{more}\r\n"
        return self.write_octets((header + text).encode())

    def write_octets(self, message: bytes, author: str = "bob@b.example") -> PassReport:
        agent = self.world.b.agent
        submit(agent, [message], author, None)
        return Notifier(agent).run_pass()

    def work(self) -> PassReport:
        """One pass at the group's agent."""
        return Notifier(self.world.a.agent, more=(groups.work_through,)).run_pass()

    def inbox(self, owner: Endpoint) -> list[Notice]:
        """What waits for somebody, oldest first."""
        agent = self.world.a.agent if owner.domain == "a.example" else self.world.b.agent
        return inbox.page(agent.database, owner, newest=100, limit=100)[::-1]

    def subjects(self, owner: Endpoint) -> list[str]:
        return [fields_of(notice)["subject"] for notice in self.inbox(owner)]

    def read(self, owner: Endpoint, place: int = -1) -> reading.ReadMessage:
        agent = self.world.a.agent if owner.domain == "a.example" else self.world.b.agent
        return reading.read(agent, owner, self.inbox(owner)[place])

    def header(self, owner: Endpoint, place: int = -1) -> Message:
        return message_from_bytes(self.read(owner, place).octets)

    def stored(self) -> int:
        """How many messages of the group's own its agent has."""
        with self.world.a.agent.database.reading() as connection:
            return connection.execute(
                select(func.count()).where(messages.c.sender == str(TEAM))
            ).scalar_one()

    def pass_later(self, seconds: float) -> PassReport:
        self.world.clock.now += seconds
        return self.work()


def make_team(world: World) -> Team:
    group_register.add(world.a.agent.database, TEAM, world.clock(), title="The Team")
    world.b.agent.accounts.add(CARLA, "carla")
    team = Team(world)
    team.join(str(BOB), str(CARLA))
    team.join(str(ALICE), owner=True)
    return team


def notify_team(
    team: Team, author: str, origin: str, *, to: str = str(TEAM), more: str = ""
) -> int:
    """A notification by hand; the answer's code."""
    user = to.replace("@", "%40")
    url = f"http://{user}:CODE@server.b.example/in/box/bob/abcdefghijklmnopqrstuvwxyz"
    header = (f"From: {author}\r\n" if author else "") + f"Subject: forged\r\n{more}"
    answer = call(
        team.world.a, f"/xhmtp/{to}", method="POST", address=origin,
        body=urlencode({"url": url, "headers": header}).encode(),
        content_type="application/x-www-form-urlencoded",
    )  # fmt: skip
    return int(answer.status_int)
