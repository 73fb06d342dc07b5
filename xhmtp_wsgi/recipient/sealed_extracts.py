"""What is remembered of sealed messages that were opened: for lists, conversations and search.

An extract is written when its owner opens a message where a key of his is unlocked, and read where
it is unlocked again: it is encrypted with a key that is made of his. So there is no index: a search
decrypts the newest MOST_LOOKED_THROUGH in memory. An extract is two boxes, one behind the other: a
head that is as long for all, and the words.

Security: nothing that is inside a sealed message is anywhere else in the database, not even as a
hash, which would tell who uses the same words. How long the text is can be seen, as it can of the
message itself.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Double,
    ForeignKey,
    LargeBinary,
    Table,
    and_,
    delete,
    func,
    select,
)
from sqlalchemy.exc import IntegrityError

from xhmtp_wsgi import search
from xhmtp_wsgi.database import Database, insert_or
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient.inbox import SEARCH_KIND
from xhmtp_wsgi.recipient.tables import mailboxes, notices
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.search import Hit, entries
from xhmtp_wsgi.secret_box import OVERHEAD, SecretBox, opened_by_any

if TYPE_CHECKING:
    from xhmtp_wsgi.protocol.sealing import Identity

HEAD = 1024  # octets of what is in the first box
MOST_LOOKED_THROUGH = 5000  # extracts, the newest, for one search or one conversation
HEADS, BATCH = 500, 50  # heads, and whole extracts, that are in memory at the same time
_HEAD_BOX = HEAD + OVERHEAD

sealed_extracts = Table(
    "sealed_extract",
    metadata,
    Column("notice", ForeignKey("notice.id", ondelete="CASCADE"), primary_key=True),
    Column("octets", LargeBinary, nullable=False),
    Column("written_at", Double, nullable=False),
)

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Inside:
    """What lists and conversations show of a sealed message; decoded, for people.

    ``author``: what stands in From inside, if that is who the notification told of; ``thread``: the
    conversation that it belongs to, by its true header.
    """

    subject: str
    author: str
    thread: str


def note(
    database: Database,
    notice: str,
    inside: Inside,
    words: str,
    identity: "Identity",
    now: float,
) -> None:
    """Remembers what is in a message, in place of what was. ``identity``: the key that opened it.

    ``words``: by which it is found.
    """
    box = _box(identity)
    head = _padded(inside)
    octets = box.closed(head, _head_of(notice)) + box.closed(
        search.plain(words[: search.MOST_TEXT]).encode(), _words_of(notice)
    )
    # The message may be deleted meanwhile.
    with suppress(IntegrityError), database.transaction() as connection:
        connection.execute(
            insert_or(connection, sealed_extracts)
            .values(notice=notice, octets=octets, written_at=now)
            .on_conflict_do_update(
                index_elements=[sealed_extracts.c.notice],
                set_={"octets": octets, "written_at": now},
            )
        )


def insides(
    database: Database, identities: "Sequence[Identity]", identifiers: Sequence[str]
) -> dict[str, Inside]:
    """What is inside those of these notices that were opened, by their ID.

    The caller has asked whose they are; what another's key has closed is not opened.
    """
    boxes = [_box(identity) for identity in identities]
    if not boxes or not identifiers:
        return {}
    found = {}
    with database.reading() as connection:
        for some in _in_batches(list(identifiers), HEADS):
            found.update(_heads(connection, boxes, some))
    return found


def in_thread(
    database: Database, owner: Endpoint, identities: "Sequence[Identity]", thread: str
) -> list[str]:
    """The notices of a conversation, by the headers inside; in no order."""
    boxes = [_box(identity) for identity in identities]
    if not boxes or not thread:
        return []
    found = []
    with database.reading() as connection:
        for some in _in_batches([hit.item for hit in _newest(connection, owner, None)], HEADS):
            heads = _heads(connection, boxes, some)
            found += [notice for notice, inside in heads.items() if inside.thread == thread]
    return found


def find(
    database: Database,
    owner: Endpoint,
    identities: "Sequence[Identity]",
    query: str,
    *,
    limit: int,
    before: int | None = None,
) -> list[Hit]:
    """What has these words inside, as ``search.find`` finds what is not sealed, newest first.

    The numbers are those of ``search.find``, so that both can be put together.
    """
    is_found = search.matcher(query)
    boxes = [_box(identity) for identity in identities]
    if is_found is None or not boxes:
        return []
    found: list[Hit] = []
    with database.reading() as connection:
        for some in _in_batches(_newest(connection, owner, before), BATCH):
            words = _words(connection, boxes, [hit.item for hit in some])
            found += [hit for hit in some if hit.item in words and is_found(words[hit.item])]
            if len(found) >= limit:
                break
    return found[:limit]


def thread_of_answered(
    database: Database, owner: Endpoint, identities: "Sequence[Identity]", message_id: str
) -> str:
    """The conversation of the message that has that Message-ID; empty where it is not here."""
    box = (
        select(mailboxes.c.id).where(mailboxes.c.address == str(owner.canonical)).scalar_subquery()
    )
    with database.reading() as connection:
        row = connection.execute(
            select(notices.c.id, notices.c.thread)
            .where(notices.c.mailbox == box, notices.c.message_id == message_id)
            .limit(1)
        ).one_or_none()
    if row is None:
        return ""
    inside = insides(database, identities, [row.id]).get(row.id)
    return inside.thread if inside else row.thread or ""


def remove(connection: Connection, identifiers: Sequence[str]) -> None:
    """Forgets what was inside these notices, within the caller's transaction."""
    connection.execute(delete(sealed_extracts).where(sealed_extracts.c.notice.in_(identifiers)))


def forget(database: Database, owner: Endpoint) -> None:
    """Forgets all that was found inside of somebody's messages, as when he takes back a key."""
    his = (
        select(notices.c.id)
        .join(mailboxes)
        .where(mailboxes.c.address == str(owner.canonical))
        .scalar_subquery()
    )
    with database.transaction() as connection:
        connection.execute(delete(sealed_extracts).where(sealed_extracts.c.notice.in_(his)))


def _box(identity: "Identity") -> SecretBox:
    return SecretBox.of(identity.secret, "extracts of sealed messages")


def _padded(inside: Inside) -> bytes:
    """The head, as long as every other; a subject that is too long for it is cut."""
    subject = inside.subject
    while True:
        head = json.dumps({**asdict(inside), "subject": subject}, ensure_ascii=False).encode()
        if len(head) <= HEAD:
            return head.ljust(HEAD)
        if not subject:
            return _padded(Inside("", "", inside.thread))
        subject = subject[: len(subject) * 3 // 4]


def _newest(connection: Connection, owner: Endpoint, before: int | None) -> list[Hit]:
    """The extracts that are looked through, newest first."""
    rows = connection.execute(
        select(entries.c.id, entries.c.item)
        .join(sealed_extracts, sealed_extracts.c.notice == entries.c.item)
        .where(
            and_(
                entries.c.owner == str(owner.canonical),
                entries.c.kind == SEARCH_KIND,
                entries.c.id < (before if before is not None else 1 << 62),
            )
        )
        .order_by(entries.c.id.desc())
        .limit(MOST_LOOKED_THROUGH)
    )
    return [Hit(row.id, SEARCH_KIND, row.item) for row in rows]


def _heads(
    connection: Connection, boxes: Sequence[SecretBox], identifiers: Sequence[str]
) -> dict[str, Inside]:
    rows = connection.execute(
        select(
            sealed_extracts.c.notice,
            func.substr(sealed_extracts.c.octets, 1, _HEAD_BOX).label("head"),
        ).where(sealed_extracts.c.notice.in_(identifiers))
    )
    found = {}
    for row in rows:
        head = opened_by_any(boxes, bytes(row.head), _head_of(row.notice))
        if head is not None:
            found[row.notice] = Inside(**json.loads(head))
    return found


def _words(
    connection: Connection, boxes: Sequence[SecretBox], identifiers: Sequence[str]
) -> dict[str, str]:
    rows = connection.execute(
        select(
            sealed_extracts.c.notice,
            func.substr(sealed_extracts.c.octets, _HEAD_BOX + 1).label("words"),
        ).where(sealed_extracts.c.notice.in_(identifiers))
    )
    found = {}
    for row in rows:
        words = opened_by_any(boxes, bytes(row.words), _words_of(row.notice))
        if words is not None:
            found[row.notice] = words.decode()
    return found


def _head_of(notice: str) -> str:
    return f"head of {notice}"


def _words_of(notice: str) -> str:
    return f"words of {notice}"


def _in_batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
