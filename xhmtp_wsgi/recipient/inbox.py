"""The inbox: what bob's agent keeps of the notifications that it took (protocol, section 5).

Each mailbox numbers its notices from 1 without a gap, in the order in which they were committed, so
that a page of a million costs what a page of fifty costs, and nothing is skipped between two polls.
``version`` grows with every change of a mailbox: it is what a feed's ETag is made of. What is in
quarantine has a number below zero: it takes no place in the feed before it is released.

Security: a notice holds the message URL with bob's access code, which only bob's feed may show.

Long, as all that gives out positions under the lock of a mailbox's row stands here together.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from xhmtp_wsgi import search
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import NotFound, StorageFull
from xhmtp_wsgi.protocol.access_code import new_identifier
from xhmtp_wsgi.protocol.conversation import identifiers, thread_of
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.notification import Notification
from xhmtp_wsgi.recipient.verdict import Check
from xhmtp_wsgi.schema import metadata

mailboxes = Table(
    "mailbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("address", Text, nullable=False, unique=True),
    Column("last_position", BigInteger, nullable=False, server_default="0"),
    Column("version", BigInteger, nullable=False, server_default="0"),
    Column("changed_at", Double, nullable=False),
    Column("last_quarantined", BigInteger, nullable=False, server_default="0"),
)

notices = Table(
    "notice",
    metadata,
    Column("id", Text, primary_key=True),
    Column("mailbox", ForeignKey("mailbox.id", ondelete="CASCADE"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("url_hash", LargeBinary, nullable=False),
    Column("url", Text, nullable=False),
    Column("headers", LargeBinary, nullable=False),
    Column("size", BigInteger),
    Column("digest", LargeBinary),
    Column("source", Text, nullable=False),
    Column("checks", Text, nullable=False),
    Column("received_at", Double, nullable=False),
    # What its owner has done with it; mailbox.py works on these.
    Column("folder", Text, nullable=False, server_default="inbox"),
    Column("seen_at", Double),
    Column("starred_at", Double),
    # Deleted: the row is kept, emptied, so that a repeated notification is known to have come.
    Column("deleted_at", Double),
    Column("message_id", Text),
    Column("thread", Text),
    UniqueConstraint("mailbox", "position"),
    UniqueConstraint("mailbox", "url_hash"),
    Index("ix_notice_folder", "mailbox", "folder", "position"),
    Index("ix_notice_thread", "mailbox", "thread"),
    Index("ix_notice_message_id", "mailbox", "message_id"),
    Index(
        "ix_notice_unseen",
        "mailbox",
        "folder",
        "position",
        sqlite_where=text("seen_at IS NULL AND deleted_at IS NULL"),
        postgresql_where=text("seen_at IS NULL AND deleted_at IS NULL"),
    ),
    Index(
        "ix_notice_starred",
        "mailbox",
        "position",
        sqlite_where=text("starred_at IS NOT NULL"),
        postgresql_where=text("starred_at IS NOT NULL"),
    ),
)

# What each notification asks of the database. Built once: that takes longer than to run them does.
_COUNTED = (mailboxes.c.id, mailboxes.c.last_position, mailboxes.c.last_quarantined)
_ONE_MORE = (
    update(mailboxes)
    .where(mailboxes.c.address == bindparam("owner"))
    .values(
        last_position=mailboxes.c.last_position + 1,
        version=mailboxes.c.version + 1,
        changed_at=bindparam("now"),
    )
    .returning(*_COUNTED)
)
_ONE_MORE_IN_QUARANTINE = (
    update(mailboxes)
    .where(mailboxes.c.address == bindparam("owner"))
    .values(last_quarantined=mailboxes.c.last_quarantined + 1)
    .returning(*_COUNTED)
)
_THREAD_OF = select(notices.c.thread).where(
    notices.c.mailbox == bindparam("mailbox"), notices.c.message_id == bindparam("message_id")
)
_ADD = {
    dialect: made(notices)
    .on_conflict_do_nothing(index_elements=[notices.c.mailbox, notices.c.url_hash])
    .returning(notices.c.id)
    for dialect, made in (("sqlite", sqlite.insert), ("postgresql", postgresql.insert))
}


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


@dataclass(frozen=True, slots=True)
class _Place:
    """A new notice's place; ``given_out``: how many places its mailbox has given out so far."""

    mailbox: int
    position: int
    given_out: int


class _HadIt(Exception):
    """This mailbox has had that URL: the transaction is to leave nothing behind."""


EMPTY = Mailbox(0, 0, 0.0)
SEARCH_KIND = "notice"
SEARCHED = ("from", "to", "cc", "subject", "keywords")


def take(
    database: Database,
    owner: Endpoint,
    notification: Notification,
    *,
    source: str,
    checks: Sequence[Check],
    now: float,
    quarantined: bool = False,
    most: int = 10**9,
) -> str | None:
    """Stores a notification and returns its identifier; None if this mailbox has had that URL.

    On disk when this returns. Raises DatabaseUnavailable, or StorageFull, also where the mailbox
    has as many as ``most``.
    """
    url = notification.url.with_credentials()
    fields = notification.values
    identifier = new_identifier()
    kept: dict[str, object] = {
        "id": identifier,
        "url_hash": hashlib.sha256(url.encode()).digest(),
        "url": url,
        "headers": notification.header_block(),
        "size": notification.content_length,
        "digest": notification.digest,
        "source": source,
        "checks": json.dumps([[check.name, check.result, check.reason] for check in checks]),
        "received_at": now,
        "message_id": next(iter(identifiers(fields.get("message-id", ""))), None),
    }
    with suppress(_HadIt), database.transaction() as connection:
        # From here on this mailbox's row is locked: positions are given out one after another.
        place = _place(connection, owner, now, quarantined=quarantined)
        kept |= {"mailbox": place.mailbox, "position": place.position}
        kept["thread"] = _thread(connection, place.mailbox, fields)
        if connection.execute(_ADD[connection.dialect.name], kept).first() is None:
            # The place is given back with it, so that no number is left out.
            raise _HadIt
        if place.given_out > most and _size(connection, place.mailbox) > most:
            raise StorageFull("the recipient's inbox is full")
        search.put(connection, owner, SEARCH_KIND, identifier, searchable(fields))
        return identifier
    return None


def searchable(fields: Mapping[str, str]) -> str:
    """The words of a header block by which a notice is found. ``fields``: by name in lower case."""
    return " ".join(display(fields[name]) for name in SEARCHED if fields.get(name))


def _thread(connection: Connection, mailbox: int, fields: Mapping[str, str]) -> str | None:
    """The conversation it belongs to; that of what it answers, where that is here."""
    answered = identifiers(fields.get("in-reply-to", ""))
    if answered and not fields.get("references"):
        known = connection.execute(
            _THREAD_OF, {"mailbox": mailbox, "message_id": answered[0]}
        ).scalar()
        if known:
            return str(known)
    return thread_of(fields) or None


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
        place = _place(connection, owner, now, quarantined=False)
        found = _quarantined(connection, place.mailbox, identifier)
        connection.execute(
            update(notices).where(notices.c.id == found).values(position=place.position)
        )


def drop(database: Database, owner: Endpoint, identifier: str, now: float) -> None:
    """Removes a notice from quarantine for good. Raises NotFound."""
    with database.transaction() as connection:
        mailbox = _mailbox_id(connection, owner, now)
        found = _quarantined(connection, mailbox, identifier)
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


def _place(connection: Connection, owner: Endpoint, now: float, *, quarantined: bool) -> _Place:
    """The place of a new notice, the mailbox's row locked; made if it is the first."""
    address = str(owner.canonical)
    asked: dict[str, object] = {"owner": address}
    statement = _ONE_MORE_IN_QUARANTINE
    if not quarantined:
        statement, asked["now"] = _ONE_MORE, now
    row = connection.execute(statement, asked).one_or_none()
    if row is None:
        _make(connection, address, now)
        row = connection.execute(statement, asked).one()
    position = -row.last_quarantined if quarantined else row.last_position
    return _Place(row.id, position, row.last_position + row.last_quarantined)


def _size(connection: Connection, mailbox: int) -> int:
    counted = select(func.count()).select_from(notices).where(notices.c.mailbox == mailbox)
    return connection.execute(counted).scalar_one()


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


def _mailbox_id(connection: Connection, owner: Endpoint, now: float) -> int:
    """The number of the mailbox, its row locked against other writers; made if it is the first."""
    address = str(owner.canonical)
    wanted = select(mailboxes.c.id).where(mailboxes.c.address == address).with_for_update()
    found = connection.execute(wanted).scalar_one_or_none()
    if found is None:
        _make(connection, address, now)
        found = connection.execute(wanted).scalar_one()
    return int(found)


def _make(connection: Connection, address: str, now: float) -> None:
    """Makes a mailbox; where another writer is first, its row does as well."""
    with suppress(IntegrityError), connection.begin_nested():
        connection.execute(insert(mailboxes).values(address=address, changed_at=now))
