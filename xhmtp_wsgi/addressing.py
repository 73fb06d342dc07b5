"""Addressing: to whom an address of ours leads (docs/addresses.md).

In this order: an alias of just that name; a group, or one of a group's requests (team+leave@A); an
account; bob's account for bob+tag@B; the domain's catch-all, if it has one. What the operator has
set comes before an account, so that an alias can lead bob's messages elsewhere while he keeps his
account, and no user of the site takes an alias or a group by the choice of his name.

An alias to an address of another agent's is a forward: whether it is one is seen when it is
followed, as a domain may come or go.

Security: no alias is followed further than MOST_STEPS, so that a loop ends. The same question is
asked of the database for a name that is known and for one that is not.

Long, as the order in which a name is looked for, and the changes that must respect it, stand here
together.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    Column,
    CompoundSelect,
    Double,
    Integer,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    false,
    null,
    select,
    union_all,
)

from xhmtp_wsgi.accounts import Accounts, accounts
from xhmtp_wsgi.database import Database, insert_or
from xhmtp_wsgi.errors import Duplicate, Forbidden, Malformed, Misdirected, NotFound
from xhmtp_wsgi.group_register import groups
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.schema import metadata

logger = logging.getLogger(__name__)

MOST_STEPS = 10
REQUESTS = ("join", "leave")
"""What stands behind the + where somebody writes to a group to come or to go."""
CATCH_ALL = "*"

aliases = Table(
    "alias",
    metadata,
    Column("address", Text, primary_key=True),
    Column("target", Text, nullable=False),
    Column("may_send", Boolean, nullable=False, server_default=false()),
    Column("created_at", Double, nullable=False),
)

# What these three addresses are here: an alias has a target, an account an id, a group neither.
_NAMES: list[BindParameter[str]] = [bindparam("whole"), bindparam("base"), bindparam("rest")]
_NO_ALIAS = (cast(null(), Text).label("target"), cast(null(), Boolean).label("may_send"))
_NO_ACCOUNT = (cast(null(), Integer).label("id"), cast(null(), Text).label("password_hash"))


def _what_they_are(names: Any) -> CompoundSelect[Any]:
    return union_all(
        select(aliases.c.address, aliases.c.target, aliases.c.may_send, *_NO_ACCOUNT).where(
            aliases.c.address.in_(names)
        ),
        select(groups.c.address, *_NO_ALIAS, *_NO_ACCOUNT).where(groups.c.address.in_(names)),
        select(accounts.c.address, *_NO_ALIAS, accounts.c.id, accounts.c.password_hash).where(
            accounts.c.address.in_(names)
        ),
    )


_FOUND = _what_they_are(_NAMES)
_ALL_FOUND = _what_they_are(bindparam("names", expanding=True))


class Kind(Enum):
    """Where an address leads to."""

    MAILBOX = "a mailbox here"
    GROUP = "a group here"
    ELSEWHERE = "an address of another agent's"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an address leads in the end; ``request``: one of REQUESTS, or empty."""

    kind: Kind
    endpoint: Endpoint
    request: str = ""


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias; ``may_send``: may whom it leads to write in its name?"""

    address: Endpoint
    target: Endpoint
    may_send: bool

    @property
    def is_catch_all(self) -> bool:
        """Does it stand for every name that its domain has not?"""
        return self.address.local == CATCH_ALL


@dataclass(slots=True)
class _Found:
    """What some addresses are here; accounts as rows, of which ``Accounts`` knows what they are."""

    aliases: dict[str, Alias] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    accounts: dict[str, Any] = field(default_factory=dict)


class Addressing:
    """The aliases of one agent, and the way to whom they mean."""

    def __init__(self, database: Database, accounts: Accounts) -> None:
        self._database = database
        self._accounts = accounts

    def resolve(self, endpoint: Endpoint) -> Destination | None:
        """Where an address leads; None for one of ours that leads nowhere."""
        return self._followed(endpoint, self._step(endpoint))

    def resolve_all(self, endpoints: Collection[Endpoint]) -> dict[Endpoint, Destination | None]:
        """Where each of these leads, most of them asked for in one statement."""
        if len(endpoints) == 1:
            return {endpoint: self.resolve(endpoint) for endpoint in endpoints}
        known = self._known(
            {
                name
                for one in endpoints
                if self._accounts.acts_for(one.domain)
                for name in _names(one)
            }
        )
        return {one: self._followed(one, self._step(one, known)) for one in endpoints}

    def _followed(
        self, endpoint: Endpoint, found: Destination | Alias | None
    ) -> Destination | None:
        """Where the first step of an address leads in the end."""
        for _ in range(MOST_STEPS):
            if not isinstance(found, Alias):
                return found
            found = self._step(found.target)
        logger.warning("%s leads further than %d steps", endpoint, MOST_STEPS)
        return None

    def may_send_as(self, owner: Endpoint, author: Endpoint) -> bool:
        """May this account write in the name of that address of ours?

        In its own, in its own with a tag, and in that of an alias that leads to it and lets it.
        """
        current = author
        for _ in range(MOST_STEPS):
            if current.canonical == owner.canonical:
                return True
            if not self._accounts.acts_for(current.domain):
                return False
            found = self._step(current)
            if isinstance(found, Destination):
                # His own address with a tag, or else somebody's who is not he.
                return found == Destination(Kind.MAILBOX, owner.canonical)
            if found is None or not found.may_send:
                return False
            current = found.target
        return False

    def add(
        self, address: Endpoint, target: Endpoint, now: float, *, may_send: bool = False
    ) -> Alias:
        """Makes an alias; the address ``*@B`` is a catch-all.

        Raises Misdirected for a domain that is not ours, Duplicate where there is such an alias or
        group, NotFound for a target of ours that is none, Malformed for one that leads back, or
        Forbidden for a catch-all that may send.
        """
        if not self._accounts.acts_for(address.domain):
            raise Misdirected(f"this agent does not act for {address.domain}")
        made = Alias(address.canonical, target, may_send)
        if made.is_catch_all and may_send:
            raise Forbidden("nobody may write in the name of a whole domain")
        self._check_target(made)
        with self._database.transaction() as connection:
            if connection.execute(
                select(groups.c.address).where(groups.c.address == str(made.address))
            ).first():
                raise Duplicate(f"{made.address} is a group")
            found = connection.execute(
                insert_or(connection, aliases)
                .values(
                    address=str(made.address),
                    target=str(target),
                    may_send=may_send,
                    created_at=now,
                )
                .on_conflict_do_nothing()
                # Not rowcount: PostgreSQL's driver counts none for this.
                .returning(aliases.c.address)
            ).first()
            if found is None:
                raise Duplicate(f"{made.address} is an alias already")
        return made

    def remove(self, address: Endpoint) -> None:
        """Removes an alias. Raises NotFound."""
        with self._database.transaction() as connection:
            gone = connection.execute(
                delete(aliases).where(aliases.c.address == str(address.canonical))
            )
        if not gone.rowcount:
            raise NotFound(f"{address} is no alias")

    def all(self) -> list[Alias]:
        """Every alias, by address."""
        with self._database.reading() as connection:
            found = connection.execute(select(aliases).order_by(aliases.c.address)).all()
        return [_alias(row) for row in found]

    def require_free(self, endpoint: Endpoint) -> None:
        """Returns where an address of ours is nobody's yet, so that a group may have it.

        Raises Misdirected, Malformed for a name with a +, or Duplicate.
        """
        if not self._accounts.acts_for(endpoint.domain):
            raise Misdirected(f"this agent does not act for {endpoint.domain}")
        if "+" in endpoint.local or endpoint.local == CATCH_ALL:
            raise Malformed("a group's name has no + in it, and is not *")
        name = str(endpoint.canonical)
        if self._found(name, name, name).aliases:
            raise Duplicate(f"{endpoint} is an alias")
        if self._accounts.find(endpoint) is not None:
            raise Duplicate(f"{endpoint} has an account")

    def _check_target(self, made: Alias) -> None:
        if made.target.local == CATCH_ALL:
            raise Malformed("an alias leads to one address")
        seen, current = [made.address], made.target
        while len(seen) < MOST_STEPS:
            if current.canonical in seen:
                raise Malformed(f"{made.address} would lead back to itself")
            found = self._step(current)
            if isinstance(found, Destination):
                return
            if found is None:
                raise NotFound(f"{current} is nobody here")
            seen.append(current.canonical)
            current = found.target
        raise Malformed(f"{made.target} leads further than {MOST_STEPS} steps")

    def _step(self, endpoint: Endpoint, known: _Found | None = None) -> Destination | Alias | None:
        """Where an address leads: there, or to an alias that is to be followed.

        ``known``: what the names are that it may stand for, where that was asked already.
        """
        if not self._accounts.acts_for(endpoint.domain):
            return Destination(Kind.ELSEWHERE, endpoint)
        whole = endpoint.canonical
        name, base_name, rest = _names(endpoint)
        base, tag = _base(whole), whole.local.partition("+")[2]
        found = self._found(name, base_name, rest) if known is None else known
        if name in found.aliases:
            return found.aliases[name]
        if name in found.groups:
            return Destination(Kind.GROUP, whole)
        if base_name in found.groups:
            return Destination(Kind.GROUP, base, tag) if tag in REQUESTS else None
        if self._accounts.of_row(whole, found.accounts.get(name)) is not None:
            return Destination(Kind.MAILBOX, whole)
        if base != whole:
            if base_name in found.aliases:
                return found.aliases[base_name]
            if self._accounts.of_row(base, found.accounts.get(base_name)) is not None:
                return Destination(Kind.MAILBOX, base)
        return found.aliases.get(rest)

    def _found(self, whole: str, base: str, rest: str) -> _Found:
        """What these addresses are, asked for in one statement."""
        return self._asked(_FOUND, {"whole": whole, "base": base, "rest": rest})

    def _known(self, names: Collection[str]) -> _Found:
        """The same for any number of them."""
        return self._asked(_ALL_FOUND, {"names": list(names)})

    def _asked(self, statement: CompoundSelect[Any], asked: Mapping[str, object]) -> _Found:
        with self._database.reading() as connection:
            rows = connection.execute(statement, dict(asked)).all()
        found = _Found()
        for row in rows:
            if row.target is not None:
                found.aliases[row.address] = _alias(row)
            elif row.id is not None:
                found.accounts[row.address] = row
            else:
                found.groups.add(row.address)
        return found


def _base(whole: Endpoint) -> Endpoint:
    """bob@B for bob+tag@B; an address without a tag as it is."""
    local, plus, _ = whole.local.partition("+")
    return Endpoint(local, whole.domain) if plus and local else whole


def _names(endpoint: Endpoint) -> tuple[str, str, str]:
    """The names that an address may stand for: the whole, that without a tag, the catch-all."""
    whole = endpoint.canonical
    return str(whole), str(_base(whole)), f"{CATCH_ALL}@{whole.domain}"


def _alias(row: Any) -> Alias:
    return Alias(Endpoint.parse(row.address), Endpoint.parse(row.target), row.may_send)
