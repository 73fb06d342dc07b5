"""The inbox: what bob's agent keeps of the notifications that it took (protocol, section 5).

recipient/taking.py puts notices in, recipient/positions.py gives them their places.

Each mailbox numbers its notices from 1 without a gap, in the order in which they were committed, so
that a page of a million costs what a page of fifty costs, and nothing is skipped between two polls.
``version`` grows with every change of a mailbox: it is what a feed's ETag is made of. What is in
quarantine has a number below zero: it takes no place in the feed before it is released.

Security: a notice holds the message URL with bob's access code, which only bob's feed may show.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from xhmtp_wsgi import search
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.recipient.positions import locked, note
from xhmtp_wsgi.recipient.tables import mailboxes, notices
from xhmtp_wsgi.recipient.verdict import Check


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification as it is kept. Times are seconds since the epoch."""

    identifier: str
    position: int
    url: str = field(repr=False)
    headers: bytes
    size: int | None
    digest: bytes | None
    source: str
    checks: tuple[Check, ...]
    received_at: float
    folder: str = "inbox"
    seen_at: float | None = None
    starred_at: float | None = None
    thread: str | None = None


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The state of a mailbox: two of equal ``version`` hold the same."""

    last_position: int
    version: int
    changed_at: float


EMPTY = Mailbox(0, 0, 0.0)
SEARCH_KIND = "notice"
SEARCHED = ("from", "to", "cc", "subject", "keywords")


def searchable(fields: Mapping[str, str]) -> str:
    """The words of a header block by which a notice is found. ``fields``: by name in lower case."""
    return " ".join(display(fields[name]) for name in SEARCHED if fields.get(name))


_STATE = select(mailboxes.c.last_position, mailboxes.c.version, mailboxes.c.changed_at).where(
    mailboxes.c.address == bindparam("owner")
)


def state(database: Database, owner: Endpoint) -> Mailbox:
    """The state of a mailbox; EMPTY for one to which nothing ever came."""
    with database.reading() as connection:
        row = connection.execute(_STATE, {"owner": str(owner.canonical)}).one_or_none()
    return EMPTY if row is None else Mailbox(*row)


def page(database: Database, owner: Endpoint, *, newest: int, limit: int) -> list[Notice]:
    """The notices from position ``newest`` downwards, at most ``limit`` positions of them."""
    with database.reading() as connection:
        found = connection.execute(
            select(notices)
            .join(mailboxes)
            .where(
                mailboxes.c.address == str(owner.canonical),
                notices.c.deleted_at.is_(None),
                notices.c.position <= newest,
                notices.c.position > max(newest - limit, 0),
            )
            .order_by(notices.c.position.desc())
        ).all()
    return [notice_of(row) for row in found]


def quarantined(database: Database, owner: Endpoint, limit: int = 1000) -> list[Notice]:
    """What is kept out of the feed, newest first; ``position`` is below zero."""
    with database.reading() as connection:
        found = connection.execute(
            select(notices)
            .join(mailboxes)
            .where(mailboxes.c.address == str(owner.canonical), notices.c.position < 0)
            .order_by(notices.c.position)
            .limit(limit)
        ).all()
    return [notice_of(row) for row in found]


def release(database: Database, owner: Endpoint, identifier: str, now: float) -> None:
    """Puts a notice from quarantine into the feed, as its newest. Raises NotFound."""
    with database.transaction() as connection:
        mailbox = locked(connection, [owner], now)[owner]
        found = _quarantined(connection, mailbox.id, identifier)
        connection.execute(
            update(notices)
            .where(notices.c.id == found)
            .values(position=mailbox.next_position(quarantined=False))
        )
        note(connection, [mailbox], now)


def drop(database: Database, owner: Endpoint, identifier: str, now: float) -> None:
    """Removes a notice from quarantine for good. Raises NotFound."""
    with database.transaction() as connection:
        mailbox = locked(connection, [owner], now)[owner]
        found = _quarantined(connection, mailbox.id, identifier)
        connection.execute(delete(notices).where(notices.c.id == found))
        search.remove(connection, owner, SEARCH_KIND, found)


def _quarantined(connection: Connection, mailbox: int, identifier: str) -> str:
    found = connection.execute(
        select(notices.c.id).where(
            notices.c.mailbox == mailbox, notices.c.id == identifier, notices.c.position < 0
        )
    ).scalar()
    if found is None:
        raise NotFound(f"nothing in quarantine is {identifier}")
    return str(found)


def forget(database: Database, owner: Endpoint) -> None:
    """Removes a mailbox and all its notices, as when its owner's account is removed."""
    with database.transaction() as connection:
        search.forget(connection, owner)
        connection.execute(delete(mailboxes).where(mailboxes.c.address == str(owner.canonical)))


def notice_of(row: Any) -> Notice:
    """A row as a value."""
    return Notice(
        row.id,
        row.position,
        row.url,
        row.headers,
        row.size,
        row.digest,
        row.source,
        tuple(Check(*check) for check in json.loads(row.checks)),
        row.received_at,
        row.folder,
        row.seen_at,
        row.starred_at,
        row.thread,
    )
