"""The mailbox as its owner works with it: folders, flags, conversations, what is deleted.

``inbox`` takes notices in, and serves the feed by their positions; this is the other half, for
pages, programs and the terminal. A change of what the feed shows makes the mailbox a new version.

Security: every statement here names the mailbox's owner beside the notice.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Select, func, select, update

from xhmtp_wsgi import search
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Malformed, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.writing_time import written_at
from xhmtp_wsgi.recipient import sealed_extracts
from xhmtp_wsgi.recipient.inbox import SEARCH_KIND, Notice, notice_of
from xhmtp_wsgi.recipient.kept_copies import kept_copies
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.recipient.tables import mailboxes, notices

INBOX, ARCHIVE, TRASH = "inbox", "archive", "trash"
OWN_FOLDERS = (INBOX, ARCHIVE, TRASH)
"""Those that everybody has."""
MOST_FOLDER_NAME = 60  # characters
COUNTED = 100  # unseen notices; where there are more, it is "at least so many"
_FOLDER = re.compile(r"[^\x00-\x1f\x7f/]{1,60}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which notices: of a folder, or all that are not in the trash; perhaps only some of those."""

    folder: str | None = INBOX
    unseen: bool = False
    starred: bool = False


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that has something in it; ``unseen``: at most COUNTED."""

    name: str
    unseen: int


def listed(
    database: Database, owner: Endpoint, wanted: Wanted, *, limit: int, before: int | None = None
) -> list[Notice]:
    """Notices, newest first; ``before``: only those below that position, to go on from."""
    question = _of(owner).where(notices.c.position > 0, *_conditions(wanted))
    if before is not None:
        question = question.where(notices.c.position < before)
    with database.reading() as connection:
        found = connection.execute(question.order_by(notices.c.position.desc()).limit(limit)).all()
    return [notice_of(row) for row in found]


def find(database: Database, owner: Endpoint, identifier: str) -> Notice:
    """One notice, in quarantine or not. Raises NotFound."""
    found = several(database, owner, [identifier])
    if not found:
        raise NotFound("there is no such message")
    return found[0]


def several(database: Database, owner: Endpoint, identifiers: Sequence[str]) -> list[Notice]:
    """Those of these notices that are there, in no order of theirs."""
    with database.reading() as connection:
        found = connection.execute(select(notices).where(*_own(owner, identifiers)))
        return [notice_of(row) for row in found.all()]


def conversation(database: Database, owner: Endpoint, thread: str, limit: int) -> list[Notice]:
    """The notices of a conversation in the order of writing, those in the trash left out."""
    question = _of(owner).where(
        notices.c.thread == thread, notices.c.position > 0, notices.c.folder != TRASH
    )
    with database.reading() as connection:
        found = connection.execute(question.order_by(notices.c.position).limit(limit)).all()
    kept = [notice_of(row) for row in found]
    return sorted(kept, key=lambda one: written_at(fields_of(one), one.received_at))


def folders(database: Database, owner: Endpoint) -> list[Folder]:
    """Everybody's folders, and those of this owner's that have something in them, by name."""
    box = _mailbox(owner)
    with database.reading() as connection:
        names = list(OWN_FOLDERS)
        last = ""
        while True:
            # One step in the index for each name, however many notices it has.
            following = connection.execute(
                select(func.min(notices.c.folder)).where(
                    notices.c.mailbox == box, notices.c.folder > last
                )
            ).scalar()
            if following is None:
                break
            last = str(following)
            if last not in names:
                names.append(last)
        return [Folder(name, _unseen(connection, box, name)) for name in names]


def set_seen(
    database: Database, owner: Endpoint, identifiers: Sequence[str], now: float, *, seen: bool
) -> int:
    """Marks notices as seen or not; returns how many there are."""
    value = func.coalesce(notices.c.seen_at, now) if seen else None
    return _change(database, owner, identifiers, {"seen_at": value})


def set_starred(
    database: Database, owner: Endpoint, identifiers: Sequence[str], now: float, *, starred: bool
) -> int:
    """Marks notices with a star or not; returns how many there are."""
    value = func.coalesce(notices.c.starred_at, now) if starred else None
    return _change(database, owner, identifiers, {"starred_at": value})


def move(database: Database, owner: Endpoint, identifiers: Sequence[str], folder: str) -> int:
    """Moves notices into a folder, which is made so; returns how many. Raises Malformed."""
    name = folder.strip()
    if not _FOLDER.fullmatch(name):
        raise Malformed(f"a folder's name has 1 to {MOST_FOLDER_NAME} characters, and no /")
    return _change(database, owner, identifiers, {"folder": name})


def delete(database: Database, owner: Endpoint, identifiers: Sequence[str], now: float) -> int:
    """Deletes notices for good, with what was kept of them; returns how many.

    What came stays known by the hash of its URL: the same notification again changes nothing
    (docs/protocol.md, section 5).
    """
    with database.transaction() as connection:
        gone = connection.execute(
            update(notices)
            .where(*_own(owner, identifiers))
            .values(
                deleted_at=now, url="", headers=b"", source="", checks="[]", thread=None,
                message_id=None, seen_at=now, starred_at=None,
            )
            .returning(notices.c.id)
        ).scalars().all()  # fmt: skip
        connection.execute(kept_copies.delete().where(kept_copies.c.notice.in_(gone)))
        sealed_extracts.remove(connection, gone)
        for identifier in gone:
            search.remove(connection, owner, SEARCH_KIND, identifier)
        if gone:
            connection.execute(
                update(mailboxes)
                .where(mailboxes.c.address == str(owner.canonical))
                .values(version=mailboxes.c.version + 1, changed_at=now)
            )
    return len(gone)


def _change(
    database: Database, owner: Endpoint, identifiers: Sequence[str], values: dict[str, object]
) -> int:
    with database.transaction() as connection:
        changed = connection.execute(
            update(notices).where(*_own(owner, identifiers)).values(**values)
        )
        return int(changed.rowcount)


def _own(owner: Endpoint, identifiers: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    return (
        # "+ 0" keeps SQLite from going through the whole mailbox instead of by these few names.
        notices.c.mailbox + 0 == _mailbox(owner),
        notices.c.id.in_(list(identifiers)[:1000]),
        notices.c.deleted_at.is_(None),
    )


def _of(owner: Endpoint) -> "Select[tuple[object, ...]]":
    return select(notices).where(
        notices.c.mailbox == _mailbox(owner), notices.c.deleted_at.is_(None)
    )


def _mailbox(owner: Endpoint) -> ColumnElement[int]:
    return (
        select(mailboxes.c.id).where(mailboxes.c.address == str(owner.canonical)).scalar_subquery()
    )


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    conditions = [notices.c.folder == wanted.folder if wanted.folder else notices.c.folder != TRASH]
    if wanted.unseen:
        conditions.append(notices.c.seen_at.is_(None))
    if wanted.starred:
        conditions.append(notices.c.starred_at.is_not(None))
    return conditions


def _unseen(connection: Connection, box: ColumnElement[int], folder: str) -> int:
    some = (
        select(notices.c.id)
        .where(
            notices.c.mailbox == box,
            notices.c.folder == folder,
            notices.c.position > 0,
            notices.c.seen_at.is_(None),
            notices.c.deleted_at.is_(None),
        )
        .limit(COUNTED)
        .subquery()
    )
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())
