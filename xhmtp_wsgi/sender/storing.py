"""Puts a message into the outbox: its octets in pieces, and a queue entry for each recipient.

All in one transaction, so that a message is there whole, or not at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, insert, text

from xhmtp_wsgi import search
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import DatabaseUnavailable, Duplicate, StorageFull
from xhmtp_wsgi.protocol.access_code import hash_code
from xhmtp_wsgi.protocol.conversation import thread_of
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.sender.outbox import SEARCH_KIND, StoredMessage, by_message_id
from xhmtp_wsgi.sender.spool import SpooledMessage
from xhmtp_wsgi.sender.tables import PIECE, deliveries, messages, pieces, representations
from xhmtp_wsgi.sender.usage import charge

_MESSAGE = (
    "id",
    "sender",
    "message_id",
    "header",
    "digest",
    "size",
    "created_at",
    "expires_at",
    "is_report",
    "alias",
    "thread",
    "sealed",
    "kept_octets",
)
_ADD_MESSAGE = text(
    f"INSERT INTO message ({', '.join(_MESSAGE)}) "  # noqa: S608 - our own names
    f"VALUES ({', '.join(f':{name}' for name in _MESSAGE)}) "
    # Not rowcount: PostgreSQL's driver counts none for this.
    "ON CONFLICT (sender, message_id) DO NOTHING RETURNING id"
).columns(messages.c.id)
_ADD_REPRESENTATION = insert(representations)
_ADD_PIECE = insert(pieces)
_ADD_DELIVERY = insert(deliveries)

SEARCHED = ("to", "cc", "subject", "keywords")


@dataclass(frozen=True, slots=True)
class NewRecipient:
    """A recipient and the access code made for him."""

    endpoint: Endpoint
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewRepresentation:
    """A message as some of its recipients get it; ``sealed``: to which kind of keys."""

    content: SpooledMessage
    sealed: str | None
    recipients: Sequence[NewRecipient]


def store(
    database: Database,
    message: StoredMessage,
    given: Sequence[NewRepresentation],
    most: int,
    *,
    is_report: bool = False,
) -> StoredMessage:
    """Stores the message and queues a notification for each recipient, in one transaction.

    ``given``: its representations; the first is what the sender herself gets. Returns the message
    as stored; that is an earlier one where the same sender has used the same Message-ID before, and
    then nothing was written. Raises DatabaseUnavailable, or StorageFull, also where the sender has
    over ``most`` octets kept then; a report counts for nobody.
    """
    with database.transaction() as connection:
        try:
            add(connection, message, given, None if is_report else most)
        except Duplicate:
            earlier = by_message_id(connection, message.sender, message.message_id)
            if earlier is None:
                # Purged between the two statements, which on PostgreSQL is possible.
                raise DatabaseUnavailable("the database cannot be used just now") from None
            return earlier
    return message


def add(
    connection: Connection,
    message: StoredMessage,
    given: Sequence[NewRepresentation],
    most: int | None,
) -> None:
    """Stores and queues a message within the caller's transaction.

    ``most``: as in ``store``; None for a report. Raises StorageFull; or Duplicate, before anything
    is written, where its sender has used its Message-ID before.
    """
    is_report = most is None
    first = given[0].content
    fields = {one.name.lower(): one.value for one in first.preamble.fields}
    octets = sum(one.content.size for one in given)
    added = connection.execute(
        _ADD_MESSAGE,
        {
            "id": message.identifier,
            "sender": str(message.sender),
            "message_id": message.message_id,
            "header": first.preamble.header,
            "digest": first.digest,
            "size": first.size,
            "created_at": message.created_at,
            "expires_at": message.expires_at,
            "is_report": is_report,
            "alias": message.alias,
            "thread": thread_of(fields) or None,
            "sealed": given[0].sealed,
            "kept_octets": octets if len(given) > 1 else None,
        },
    ).scalar_one_or_none()
    if added is None:
        raise Duplicate(f"{message.sender} has sent {message.message_id} before")
    if most is not None:
        if charge(connection, message.sender, octets) > most:
            raise StorageFull(f"{message.sender} may have {most} octets kept, and no more")
        search.put(connection, message.sender, SEARCH_KIND, message.identifier, searchable(fields))
    next_piece = 0
    for number, one in enumerate(given):
        if number:
            _add_representation(connection, message.identifier, number, one, next_piece)
        next_piece = _add_pieces(connection, message.identifier, one.content, next_piece)
        _add_deliveries(connection, message, number, one.recipients)


def _add_representation(
    connection: Connection, message: str, number: int, one: NewRepresentation, first_piece: int
) -> None:
    connection.execute(
        _ADD_REPRESENTATION,
        {
            "message": message,
            "number": number,
            "first_piece": first_piece,
            "header": one.content.preamble.header,
            "digest": one.content.digest,
            "size": one.content.size,
            "sealed": one.sealed,
        },
    )


def _add_pieces(
    connection: Connection, message: str, content: SpooledMessage, first_piece: int
) -> int:
    """Stores the octets; the number of the piece behind them."""
    number = first_piece
    for octets in content.in_pieces(PIECE):
        piece = {"message": message, "number": number, "octets": octets}
        connection.execute(_ADD_PIECE, piece)
        number += 1
    return number


def _add_deliveries(
    connection: Connection,
    message: StoredMessage,
    representation: int,
    recipients: Sequence[NewRecipient],
) -> None:
    if not recipients:
        return
    connection.execute(
        _ADD_DELIVERY,
        [
            {
                "message": message.identifier,
                "recipient": str(recipient.endpoint),
                "domain": recipient.endpoint.domain,
                "code": recipient.code,
                "code_hash": hash_code(recipient.code),
                "state": State.QUEUED,
                "queued_at": message.created_at,
                "next_try_at": message.created_at,
                "representation": representation,
            }
            for recipient in recipients
        ],
    )


def searchable(fields: Mapping[str, str]) -> str:
    """The words of a header by which a message is found. ``fields``: by name in lower case."""
    return " ".join(display(fields[name]) for name in SEARCHED if fields.get(name))
