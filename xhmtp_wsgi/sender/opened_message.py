"""What an access code opens: a message as its recipient gets it, and that he has fetched it.

Read in one statement, and the octets of a small message in the same transaction: a fetch has no
more to ask of the database.

Security: a wrong code takes the same steps as a message that never was.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, or_, select, update

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.access_code import matches
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.sender.outbox import (
    MESSAGE_COLUMNS,
    REPRESENTATION,
    StoredMessage,
    as_message,
    read_pieces,
)
from xhmtp_wsgi.sender.tables import PIECE, deliveries, messages, representations

_MESSAGE_AND_DELIVERIES = (
    select(
        *MESSAGE_COLUMNS,
        deliveries.c.id.label("delivery"),
        deliveries.c.code_hash,
        deliveries.c.fetched_at,
        representations.c.number.label("representation"),
        representations.c.header.label("told_header"),
        representations.c.digest.label("told_digest"),
        representations.c.size.label("told_size"),
        representations.c.sealed.label("told_sealed"),
        representations.c.first_piece,
    )
    .select_from(messages)
    .outerjoin(
        deliveries,
        and_(
            deliveries.c.message == messages.c.id,
            # Under his own address, or the one that he has moved to.
            or_(
                deliveries.c.recipient == bindparam("recipient"),
                deliveries.c.moved_to == bindparam("recipient"),
            ),
        ),
    )
    .outerjoin(representations, REPRESENTATION)
    .where(messages.c.id == bindparam("id"))
)
_NOTE_FETCHED = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery"), deliveries.c.fetched_at.is_(None))
    .values(
        fetched_at=bindparam("now"),
        state=case((deliveries.c.state == State.NOTIFIED, State.FETCHED), else_=deliveries.c.state),
    )
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery whose code opened a message; ``told``: the message as its recipient gets it.

    ``octets``: the message's own, where one piece has them all and they are there.
    """

    identifier: int
    told: StoredMessage
    was_fetched: bool
    octets: bytes | None = field(repr=False)


def opened(
    database: Database, identifier: str, recipient: str, code: str
) -> tuple[StoredMessage | None, Delivery | None]:
    """A message, and the delivery that this code opens for this recipient, named as notified.

    None for what there is not. Takes the same steps whether the message exists or not.
    """
    with database.reading() as connection:
        found = connection.execute(
            _MESSAGE_AND_DELIVERIES, {"id": identifier, "recipient": recipient}
        ).all()
        # A hash that no code has, where there is no delivery.
        hashes = [row.code_hash or bytes(32) for row in found] or [bytes(32)]
        right = [number for number, stored in enumerate(hashes) if matches(code, stored)]
        if not found:
            return None, None
        message = as_message(found[0])
        return message, _delivery(connection, message, found[right[0]]) if right else None


def _delivery(connection: Connection, message: StoredMessage, row: Any) -> Delivery:
    told = message
    if row.representation is not None:
        told = replace(
            message,
            header=row.told_header,
            digest=row.told_digest,
            size=row.told_size,
            sealed=row.told_sealed,
            first_piece=row.first_piece,
        )
    octets = None
    if told.size <= PIECE:
        octets = next(iter(read_pieces(connection, told.identifier, told.first_piece, 1)), None)
    return Delivery(row.delivery, told, row.fetched_at is not None, octets)


def note_fetched(database: Database, delivery: int, now: float) -> None:
    """Notes when a recipient fetched a message for the first time."""
    with database.transaction() as connection:
        connection.execute(_NOTE_FETCHED, {"delivery": delivery, "now": now})
