"""Groups: addresses of ours behind which others stand, and who is in them (docs/addresses.md).

A register alone: recipient/group_policy asks it who may write, groups/ sends to its members. A
member is known by the canonical form of his address, and is written to as he has told it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Double,
    ForeignKey,
    Table,
    Text,
    delete,
    false,
    func,
    select,
    update,
)

from xhmtp_wsgi.database import Database, insert_or
from xhmtp_wsgi.errors import Duplicate, Forbidden, Malformed, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.schema import metadata

MOST_TITLE = 100  # characters

groups = Table(
    "group_address",
    metadata,
    Column("address", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("writers", Text, nullable=False),
    Column("joining", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)
members = Table(
    "group_member",
    metadata,
    Column(
        "group_address", ForeignKey("group_address.address", ondelete="CASCADE"), primary_key=True
    ),
    Column("member", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("is_owner", Boolean, nullable=False, server_default=false()),
    Column("joined_at", Double, nullable=False),
)


class Writers(StrEnum):
    """Who may write to a group."""

    MEMBERS = "members"
    OWNERS = "owners"
    ANYBODY = "anybody"


class Joining(StrEnum):
    """Who may join: anybody by himself, or only whom an owner lets in."""

    ANYBODY = "anybody"
    OWNERS = "owners"


@dataclass(frozen=True, slots=True)
class Group:
    """A group; ``title`` is what people call it."""

    endpoint: Endpoint
    title: str
    writers: Writers
    joining: Joining

    @property
    def list_id(self) -> str:
        """What names it in List-Id (RFC 2919): ``team.a.example``."""
        return f"{self.endpoint.local}.{self.endpoint.domain}"

    def request_address(self, request: str) -> Endpoint:
        """Where one writes to, to join or to leave: ``team+leave@A``."""
        return Endpoint(f"{self.endpoint.local}+{request}", self.endpoint.domain)


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a group. ``joined_at``: seconds since the epoch."""

    endpoint: Endpoint
    is_owner: bool
    joined_at: float


def add(
    database: Database,
    endpoint: Endpoint,
    now: float,
    *,
    title: str = "",
    writers: Writers = Writers.MEMBERS,
    joining: Joining = Joining.OWNERS,
) -> Group:
    """Makes a group without members; its title is by default the name before the @.

    Whether the address is free is for the caller to see (addressing.py). Raises Duplicate where it
    is a group's already, Malformed for a title.
    """
    made = Group(endpoint.canonical, _title(title or endpoint.local), writers, joining)
    with database.transaction() as connection:
        found = connection.execute(
            insert_or(connection, groups)
            .values(
                address=str(made.endpoint),
                title=made.title,
                writers=made.writers,
                joining=made.joining,
                created_at=now,
            )
            .on_conflict_do_nothing()
            # Not rowcount: PostgreSQL's driver counts none for this.
            .returning(groups.c.address)
        ).first()
    if found is None:
        raise Duplicate(f"{made.endpoint} is a group already")
    return made


def find(database: Database, endpoint: Endpoint) -> Group | None:
    """The group of that address."""
    with database.reading() as connection:
        row = connection.execute(
            select(groups).where(groups.c.address == str(endpoint.canonical))
        ).one_or_none()
    return None if row is None else _group(row)


def the_group(database: Database, endpoint: Endpoint) -> Group:
    """The same. Raises NotFound where there is none."""
    found = find(database, endpoint)
    if found is None:
        raise NotFound(f"there is no group {endpoint}")
    return found


def all_groups(database: Database) -> list[Group]:
    """Every group, by address."""
    with database.reading() as connection:
        return [
            _group(row)
            for row in connection.execute(select(groups).order_by(groups.c.address)).all()
        ]


def change(
    database: Database,
    endpoint: Endpoint,
    *,
    title: str | None = None,
    writers: Writers | None = None,
    joining: Joining | None = None,
) -> Group:
    """Changes what is given, and leaves the rest. Raises NotFound, or Malformed for a title."""
    wanted = {
        "title": None if title is None else _title(title),
        "writers": writers,
        "joining": joining,
    }
    values = {name: value for name, value in wanted.items() if value is not None}
    if values:
        with database.transaction() as connection:
            connection.execute(
                update(groups).where(groups.c.address == str(endpoint.canonical)).values(**values)
            )
    return the_group(database, endpoint)


def remove(database: Database, endpoint: Endpoint) -> None:
    """Removes a group, and who was in it. Raises NotFound."""
    with database.transaction() as connection:
        gone = connection.execute(delete(groups).where(groups.c.address == str(endpoint.canonical)))
    if not gone.rowcount:
        raise NotFound(f"there is no group {endpoint}")


def join(
    database: Database,
    group: Group,
    joining: Sequence[Endpoint],
    now: float,
    *,
    most: int,
    is_owner: bool = False,
) -> int:
    """Takes them in, all or none; returns how many were not in it before.

    ``is_owner``: they are owners from now on, also who was a member already. Raises Forbidden where
    the group would have over ``most`` members, or is of them itself.
    """
    if any(endpoint.canonical == group.endpoint for endpoint in joining):
        raise Forbidden(f"{group.endpoint} cannot be in itself")
    with database.transaction() as connection:
        before = _size(connection, group)
        for endpoint in joining:
            statement = insert_or(connection, members).values(
                group_address=str(group.endpoint),
                member=str(endpoint.canonical),
                address=str(endpoint),
                is_owner=is_owner,
                joined_at=now,
            )
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=[members.c.group_address, members.c.member],
                    set_={"is_owner": True},
                )
                if is_owner
                else statement.on_conflict_do_nothing()
            )
        after = _size(connection, group)
        if after > most:
            raise Forbidden(f"a group has at most {most} members")
    return after - before


def leave(database: Database, group: Group, leaving: Sequence[Endpoint]) -> int:
    """Lets them go; returns how many were in it."""
    gone = 0
    with database.transaction() as connection:
        for endpoint in leaving:
            found = connection.execute(
                delete(members).where(
                    members.c.group_address == str(group.endpoint),
                    members.c.member == str(endpoint.canonical),
                )
            )
            gone += found.rowcount
    return gone


def member(database: Database, group: Group, endpoint: Endpoint) -> Member | None:
    """Whoever has that address in the group."""
    with database.reading() as connection:
        row = connection.execute(
            select(members).where(
                members.c.group_address == str(group.endpoint),
                members.c.member == str(endpoint.canonical),
            )
        ).one_or_none()
    return None if row is None else _member(row)


def members_of(database: Database, group: Group, *, owners: bool = False) -> list[Member]:
    """Who is in a group, by address; ``owners``: those alone."""
    question = select(members).where(members.c.group_address == str(group.endpoint))
    if owners:
        question = question.where(members.c.is_owner)
    with database.reading() as connection:
        return [
            _member(row) for row in connection.execute(question.order_by(members.c.member)).all()
        ]


def _size(connection: Connection, group: Group) -> int:
    counted = select(func.count()).where(members.c.group_address == str(group.endpoint))
    return int(connection.execute(counted).scalar_one())


def _title(text: str) -> str:
    if not 0 < len(text) <= MOST_TITLE or display(text) != text:
        raise Malformed(f"a title is one line of 1 to {MOST_TITLE} characters")
    return text


def _group(row: Any) -> Group:
    return Group(Endpoint.parse(row.address), row.title, Writers(row.writers), Joining(row.joining))


def _member(row: Any) -> Member:
    return Member(Endpoint.parse(row.address), row.is_owner, row.joined_at)
