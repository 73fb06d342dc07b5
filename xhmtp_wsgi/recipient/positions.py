"""Positions: the numbers that notices have in their mailbox, given out under its row's lock.

They begin with 1 and have no gap, in the order in which they were committed; those of what is in
quarantine go down from -1. Whoever wants several mailboxes gets them in the order of their
addresses, so that two who want the same ones never wait for each other.
"""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient.tables import mailboxes

# Built once: that takes longer than to run them does.
_COLUMNS = (
    mailboxes.c.id,
    mailboxes.c.address,
    mailboxes.c.last_position,
    mailboxes.c.last_quarantined,
    mailboxes.c.version,
)
_ONE = select(*_COLUMNS).where(mailboxes.c.address == bindparam("owner")).with_for_update()
_SEVERAL = (
    select(*_COLUMNS)
    .where(mailboxes.c.address.in_(bindparam("owners", expanding=True)))
    .order_by(mailboxes.c.address)
    .with_for_update()
)
_NOTE = (
    update(mailboxes)
    .where(mailboxes.c.id == bindparam("mailbox"))
    .values(
        last_position=bindparam("position"),
        last_quarantined=bindparam("in_quarantine"),
        version=bindparam("now_version"),
        changed_at=bindparam("now"),
    )
)
_NOTE_QUARANTINED = (
    update(mailboxes)
    .where(mailboxes.c.id == bindparam("mailbox"))
    .values(last_quarantined=bindparam("in_quarantine"))
)


@dataclass(slots=True)
class LockedMailbox:
    """A mailbox whose row is locked until the transaction ends."""

    id: int
    last_position: int
    last_quarantined: int
    version: int
    in_feed: int = 0
    """How many places this transaction has given out in the feed."""
    in_quarantine: int = 0

    @property
    def given_out(self) -> int:
        """How many places it has given out so far, in all."""
        return self.last_position + self.last_quarantined

    def next_position(self, *, quarantined: bool) -> int:
        """The place of one more notice."""
        if quarantined:
            self.last_quarantined += 1
            self.in_quarantine += 1
            return -self.last_quarantined
        self.last_position += 1
        self.in_feed += 1
        return self.last_position


def locked(
    connection: Connection, owners: Collection[Endpoint], now: float
) -> dict[Endpoint, LockedMailbox]:
    """The mailboxes of these, against other writers; those that are not there yet are made."""
    addresses = {str(owner.canonical): owner for owner in owners}
    found = _lock(connection, addresses)
    missing = sorted(addresses.keys() - found.keys())
    if missing:
        for address in missing:
            _make(connection, address, now)
        found |= _lock(connection, missing)
    return {owner: found[address] for address, owner in addresses.items()}


def note(connection: Connection, changed: Iterable[LockedMailbox], now: float) -> None:
    """Writes down what was given out; what went into the feed makes a new version of it."""
    in_feed, in_quarantine = [], []
    for mailbox in changed:
        row = {"mailbox": mailbox.id, "in_quarantine": mailbox.last_quarantined}
        if mailbox.in_feed:
            place = {"position": mailbox.last_position, "now": now}
            in_feed.append(row | place | {"now_version": mailbox.version + mailbox.in_feed})
        elif mailbox.in_quarantine:
            in_quarantine.append(row)
    for statement, rows in ((_NOTE, in_feed), (_NOTE_QUARANTINED, in_quarantine)):
        if rows:
            connection.execute(statement, rows)


def _lock(connection: Connection, addresses: Collection[str]) -> dict[str, LockedMailbox]:
    if len(addresses) == 1:
        rows = connection.execute(_ONE, {"owner": next(iter(addresses))}).all()
    else:
        rows = connection.execute(_SEVERAL, {"owners": list(addresses)}).all()
    return {
        row.address: LockedMailbox(row.id, row.last_position, row.last_quarantined, row.version)
        for row in rows
    }


def _make(connection: Connection, address: str, now: float) -> None:
    """Makes a mailbox; where another writer is first, its row does as well."""
    with suppress(IntegrityError), connection.begin_nested():
        connection.execute(insert(mailboxes).values(address=address, changed_at=now))
