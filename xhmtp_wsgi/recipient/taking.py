"""Taking: puts notifications into the inboxes of their recipients, many in one transaction.

What was there is found before a place is given out, under the lock of the mailbox's row; so no
place is lost to a notification that comes twice.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import Connection, bindparam, func, insert, select, tuple_

from xhmtp_wsgi import counters, search
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import StorageFull
from xhmtp_wsgi.protocol.access_code import new_identifier
from xhmtp_wsgi.protocol.conversation import identifiers, thread_of
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.notification import Notification
from xhmtp_wsgi.recipient.inbox import SEARCH_KIND, searchable
from xhmtp_wsgi.recipient.positions import LockedMailbox, locked, note
from xhmtp_wsgi.recipient.tables import notices
from xhmtp_wsgi.recipient.verdict import Check

# Built once: that takes longer than to run them does.
_HAD_ONE = select(notices.c.mailbox, notices.c.url_hash).where(
    notices.c.mailbox == bindparam("mailbox"), notices.c.url_hash == bindparam("url_hash")
)
_HAD = select(notices.c.mailbox, notices.c.url_hash).where(
    tuple_(notices.c.mailbox, notices.c.url_hash).in_(bindparam("asked", expanding=True))
)
_THREAD_OF = select(notices.c.thread).where(
    notices.c.mailbox == bindparam("mailbox"), notices.c.message_id == bindparam("message_id")
)
_SIZE = select(func.count()).where(notices.c.mailbox == bindparam("mailbox"))
_ADD = insert(notices)

Taken: TypeAlias = str | StorageFull | None
"""What became of one: its identifier; None where this mailbox has had that URL; or why not."""
NOT_KEPT = "not kept"
"""In place of an identifier."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A notification that is to be put into an inbox. ``owner``: canonical.

    ``source``: the address that it came from; ``received_at``: in seconds since the epoch;
    ``is_kept``: false for one of which nothing is to be kept, and which is to cost as much.
    """

    owner: Endpoint
    notification: Notification
    checks: Sequence[Check]
    source: str
    received_at: float
    quarantined: bool = False
    is_kept: bool = True


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
    incoming = Incoming(owner.canonical, notification, checks, source, now, quarantined)
    (taken,) = take_all(database, [incoming], most)
    if isinstance(taken, StorageFull):
        raise taken
    return taken


def take_all(database: Database, incoming: Sequence[Incoming], most: int) -> list[Taken]:
    """Stores notifications and tells what became of each, in their order.

    On disk when this returns. ``most``: how many one mailbox may have. Raises DatabaseUnavailable,
    or StorageFull where the disk has no room: then nothing was stored.
    """
    kept = [one for one in incoming if one.is_kept]
    taken: list[Taken] = []
    if incoming:
        with database.transaction() as connection:
            taken = _kept(connection, kept, most) if kept else []
            _work_as_if(connection, [one for one in incoming if not one.is_kept])
    results = iter(taken)
    return [next(results) if one.is_kept else NOT_KEPT for one in incoming]


def _kept(connection: Connection, incoming: Sequence[Incoming], most: int) -> list[Taken]:
    now = max(one.received_at for one in incoming)
    mailboxes = locked(connection, {one.owner for one in incoming}, now)
    hashes = [hashlib.sha256(_url(one).encode()).digest() for one in incoming]
    places = [
        (mailboxes[one.owner].id, url_hash) for one, url_hash in zip(incoming, hashes, strict=True)
    ]
    work = _Work(connection, _had(connection, places), most)
    taken = [
        work.take(one, mailboxes[one.owner], url_hash)
        for one, url_hash in zip(incoming, hashes, strict=True)
    ]
    if work.rows:
        connection.execute(_ADD, work.rows)
        search.put_new(connection, SEARCH_KIND, work.found_by)
        note(connection, mailboxes.values(), now)
    return taken


def _work_as_if(connection: Connection, discarded: Sequence[Incoming]) -> None:
    """Writes something, so that what is not kept takes as long as what is."""
    for one in discarded:
        search.put(connection, one.owner, NOT_KEPT, "", searchable(one.notification.values))
        search.remove(connection, one.owner, NOT_KEPT, "")
    if discarded:
        counters.add(connection, {"notifications:not kept": len(discarded)})


@dataclass(slots=True)
class _Work:
    """What one transaction is to write, as it grows."""

    connection: Connection
    had: set[tuple[int, bytes]]
    most: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    found_by: list[tuple[Endpoint, str, str]] = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    threads: dict[tuple[int, str], str | None] = field(default_factory=dict)

    def take(self, one: Incoming, mailbox: LockedMailbox, url_hash: bytes) -> Taken:
        """Gives it its place, if it is to have one."""
        if (mailbox.id, url_hash) in self.had:
            return None
        if mailbox.given_out >= self.most and self._size(mailbox) >= self.most:
            return StorageFull("the recipient's inbox is full")
        self.had.add((mailbox.id, url_hash))
        fields = one.notification.values
        identifier = new_identifier()
        message_id = next(iter(identifiers(fields.get("message-id", ""))), None)
        thread = self._thread(mailbox.id, fields)
        if message_id is not None:
            self.threads.setdefault((mailbox.id, message_id), thread)
        self.rows.append(
            {
                "id": identifier,
                "mailbox": mailbox.id,
                "position": mailbox.next_position(quarantined=one.quarantined),
                "url_hash": url_hash,
                "url": _url(one),
                "headers": one.notification.header_block(),
                "size": one.notification.content_length,
                "digest": one.notification.digest,
                "source": one.source,
                "checks": _as_json(one.checks),
                "received_at": one.received_at,
                "message_id": message_id,
                "thread": thread,
            }
        )
        self.found_by.append((one.owner, identifier, searchable(fields)))
        return identifier

    def _size(self, mailbox: LockedMailbox) -> int:
        """How many it has; those that were given a place just now have no row yet."""
        if mailbox.id not in self.sizes:
            counted = self.connection.execute(_SIZE, {"mailbox": mailbox.id}).scalar_one()
            self.sizes[mailbox.id] = int(counted)
        return self.sizes[mailbox.id] + mailbox.in_feed + mailbox.in_quarantine

    def _thread(self, mailbox: int, fields: Mapping[str, str]) -> str | None:
        """The conversation it belongs to; that of what it answers, where that is here."""
        answered = identifiers(fields.get("in-reply-to", ""))
        if answered and not fields.get("references"):
            known = (
                self.threads.get((mailbox, answered[0]))
                or self.connection.execute(
                    _THREAD_OF, {"mailbox": mailbox, "message_id": answered[0]}
                ).scalar()
            )
            if known:
                return str(known)
        return thread_of(fields) or None


def _url(one: Incoming) -> str:
    return one.notification.url.with_credentials()


def _had(connection: Connection, places: Sequence[tuple[int, bytes]]) -> set[tuple[int, bytes]]:
    """Which of these URLs their mailboxes have had."""
    if len(places) == 1:
        ((mailbox, url_hash),) = places
        found = connection.execute(_HAD_ONE, {"mailbox": mailbox, "url_hash": url_hash})
    else:
        found = connection.execute(_HAD, {"asked": places})
    return {(row.mailbox, row.url_hash) for row in found}


def _as_json(checks: Sequence[Check]) -> str:
    return json.dumps([[check.name, check.result, check.reason] for check in checks])
