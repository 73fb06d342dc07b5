"""The outbox: what alice's agent keeps of her messages, and how it is read and withdrawn.

Written by storing.py; read by fetch and by whoever asks for the delivery status. The notifier works
on the same rows through queue.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, delete, select, update

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Gone
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.status import WAITING, State
from xhmtp_wsgi.sender.tables import (
    PIECE,
    deliveries,
    messages,
    pieces,
    representations,
)
from xhmtp_wsgi.sender.usage import charge


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message in the outbox, without its octets. Times are seconds since the epoch."""

    identifier: str
    sender: Endpoint
    message_id: str
    digest: bytes
    size: int
    created_at: float
    expires_at: float
    withdrawn_at: float | None
    alias: str | None = None
    header: bytes = b""
    thread: str | None = None
    sealed: str | None = None
    """To which kind of keys; None: in the clear."""
    first_piece: int = 0

    @property
    def path_name(self) -> str:
        """What stands for the sender in the message's path."""
        return self.alias or self.sender.local


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """How far a message has come to one recipient. Times are seconds since the epoch."""

    recipient: str
    state: State
    tries: int
    next_try_at: float | None
    last_try_at: float | None
    last_status: int | None
    last_answer: str | None
    notified_at: float | None
    fetched_at: float | None
    moved_to: str | None
    unvouched: str | None
    traceback: str | None
    sealed: str | None = None


SEARCH_KIND = "sent"

MESSAGE_COLUMNS = (
    messages.c.id,
    messages.c.sender,
    messages.c.message_id,
    messages.c.digest,
    messages.c.size,
    messages.c.created_at,
    messages.c.expires_at,
    messages.c.withdrawn_at,
    messages.c.alias,
    messages.c.header,
    messages.c.thread,
    messages.c.sealed,
)
REPRESENTATION = and_(
    representations.c.message == deliveries.c.message,
    representations.c.number == deliveries.c.representation,
)

_MESSAGE = select(*MESSAGE_COLUMNS).where(messages.c.id == bindparam("id"))
_MESSAGE_BY_MESSAGE_ID = select(*MESSAGE_COLUMNS).where(
    messages.c.sender == bindparam("sender"), messages.c.message_id == bindparam("message_id")
)
_PIECES = (
    select(pieces.c.octets)
    .where(
        pieces.c.message == bindparam("id"),
        pieces.c.number >= bindparam("first"),
        pieces.c.number < bindparam("end"),
    )
    .order_by(pieces.c.number)
)
_AT_ONCE = 4  # pieces read in one transaction


def find(database: Database, identifier: str) -> StoredMessage | None:
    """The message with that ID, withdrawn and expired ones too."""
    with database.reading() as connection:
        row = connection.execute(_MESSAGE, {"id": identifier}).one_or_none()
    return None if row is None else as_message(row)


def by_message_id(
    connection: Connection, sender: Endpoint, message_id: str
) -> StoredMessage | None:
    """The message that this sender has handed in with that Message-ID."""
    row = connection.execute(
        _MESSAGE_BY_MESSAGE_ID, {"sender": str(sender), "message_id": message_id}
    ).one_or_none()
    return None if row is None else as_message(row)


def octets(
    database: Database, identifier: str, start: int, stop: int, *, first_piece: int = 0
) -> Iterator[bytes]:
    """The octets of a message from ``start`` to before ``stop``, in pieces.

    ``first_piece``: where its representation begins. A few pieces are read at a time, so that a
    slow reader holds nothing open. Raises Gone where they are let go meanwhile.
    """
    end = (stop + PIECE - 1) // PIECE
    for number in range(start // PIECE, end, _AT_ONCE):
        wanted = range(number, min(number + _AT_ONCE, end))
        with database.reading() as connection:
            read = read_pieces(connection, identifier, first_piece + number, len(wanted))
        if len(read) < len(wanted):
            raise Gone("the message was let go while it was read")
        for piece, at in zip(read, wanted, strict=True):
            yield piece[max(start - at * PIECE, 0) : stop - at * PIECE]


def read_pieces(connection: Connection, identifier: str, first: int, count: int) -> Sequence[bytes]:
    """Those of so many pieces that are there, in their order."""
    values = {"id": identifier, "first": first, "end": first + count}
    read: Sequence[bytes] = connection.execute(_PIECES, values).scalars().all()
    return read


def withdraw(database: Database, identifier: str, now: float) -> None:
    """Takes a message back: its octets go, nobody is told any more, whoever asks learns that."""
    with database.transaction() as connection:
        note_emptied(connection, identifier, now)
        connection.execute(
            update(messages)
            .where(messages.c.id == identifier, messages.c.withdrawn_at.is_(None))
            .values(withdrawn_at=now)
        )
        connection.execute(delete(pieces).where(pieces.c.message == identifier))
        kept = (State.REFUSED, State.EXPIRED)
        connection.execute(
            update(deliveries)
            .where(deliveries.c.message == identifier, deliveries.c.state.not_in(kept))
            .values(state=State.WITHDRAWN, next_try_at=None, code=None)
        )


def note_emptied(connection: Connection, identifier: str, now: float) -> None:
    """Notes that a message's octets are let go, once; they count no more for its sender."""
    row = connection.execute(
        update(messages)
        .where(messages.c.id == identifier, messages.c.emptied_at.is_(None))
        .values(emptied_at=now)
        .returning(messages.c.sender, messages.c.size, messages.c.kept_octets, messages.c.is_report)
    ).one_or_none()
    if row is not None and not row.is_report:
        kept = row.size if row.kept_octets is None else row.kept_octets
        charge(connection, Endpoint.parse(row.sender), -kept)


def statuses(database: Database, identifier: str) -> list[RecipientStatus]:
    """The delivery status of a message, recipient by recipient, in the order of injection."""
    with database.reading() as connection:
        found = connection.execute(
            select(
                deliveries.c.recipient,
                deliveries.c.state,
                deliveries.c.tries,
                deliveries.c.next_try_at,
                deliveries.c.last_try_at,
                deliveries.c.last_status,
                deliveries.c.last_answer,
                deliveries.c.notified_at,
                deliveries.c.fetched_at,
                deliveries.c.moved_to,
                deliveries.c.unvouched,
                deliveries.c.traceback,
                case(
                    (deliveries.c.representation == 0, messages.c.sealed),
                    else_=representations.c.sealed,
                ).label("sealed"),
            )
            .select_from(deliveries)
            .join(messages)
            .outerjoin(representations, REPRESENTATION)
            .where(deliveries.c.message == identifier)
            .order_by(deliveries.c.id)
        ).all()
    return [
        RecipientStatus(
            row.recipient,
            State(row.state),
            row.tries,
            row.next_try_at if row.state in WAITING else None,
            row.last_try_at,
            row.last_status,
            row.last_answer,
            row.notified_at,
            row.fetched_at,
            row.moved_to,
            row.unvouched,
            row.traceback,
            row.sealed,
        )
        for row in found
    ]


def sent(database: Database, sender: Endpoint, *, limit: int, skip: int) -> list[StoredMessage]:
    """What a sender has sent, newest first."""
    with database.reading() as connection:
        found = connection.execute(
            select(*MESSAGE_COLUMNS)
            .where(messages.c.sender == str(sender))
            .order_by(messages.c.created_at.desc(), messages.c.id)
            .limit(limit)
            .offset(skip)
        ).all()
    return [as_message(row) for row in found]


def several(
    database: Database, sender: Endpoint, identifiers: Sequence[str]
) -> list[StoredMessage]:
    """Those of these messages that the sender has sent, in no order of theirs."""
    with database.reading() as connection:
        found = connection.execute(
            select(*MESSAGE_COLUMNS).where(
                messages.c.sender == str(sender), messages.c.id.in_(list(identifiers)[:1000])
            )
        ).all()
    return [as_message(row) for row in found]


def conversation(
    database: Database, sender: Endpoint, thread: str, limit: int
) -> list[StoredMessage]:
    """What a sender has sent in a conversation, oldest first."""
    with database.reading() as connection:
        found = connection.execute(
            select(*MESSAGE_COLUMNS)
            .where(messages.c.sender == str(sender), messages.c.thread == thread)
            # By the bare column, SQLite would go through all that she has ever sent in that order.
            .order_by(messages.c.created_at + 0, messages.c.id)
            .limit(limit)
        ).all()
    return [as_message(row) for row in found]


def as_message(row: Any) -> StoredMessage:
    """The message that a row of MESSAGE_COLUMNS tells of."""
    return StoredMessage(
        row.id,
        Endpoint.parse(row.sender),
        row.message_id,
        row.digest,
        row.size,
        row.created_at,
        row.expires_at,
        row.withdrawn_at,
        row.alias,
        row.header,
        row.thread,
        row.sealed,
    )
