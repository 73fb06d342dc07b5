"""What somebody has sent, read out to be kept elsewhere: for `xhmtp export` (docs/moving.md).

To a user belong the messages that she has sent, and the reports that her agent made for her: her
inbox leads to them. Everything is read in the caller's transaction, so that it fits together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select, update

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Forbidden
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.status import WAITING
from xhmtp_wsgi.row_json import RowForm
from xhmtp_wsgi.sender.failure_notice import LOCAL
from xhmtp_wsgi.sender.tables import PIECE, deliveries, messages, pieces, representations

MESSAGE = RowForm(
    messages,
    without={"kept_octets"},  # it follows from the sizes
    optional={"header"},  # there where the octets are let go, or do not begin with it: sealed ones
)
REPRESENTATION = RowForm(representations, without={"first_piece"})  # it follows, too
RECIPIENT = RowForm(
    deliveries,
    # A lease is one notifier's, and ends with it; the rest follows from the recipient's address.
    without={"id", "domain", "lease_owner", "lease_until"},
)
HANDED_OVER = "handed over: another host tells him (xhmtp export --hand-over)"
AT_ONCE = 500  # rows


@dataclass(frozen=True, slots=True)
class KeptOctets:
    """Where the octets of one of a message's representations are kept, from which piece on."""

    number: int
    is_sealed: bool
    first_piece: int
    size: int


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message as JSON has it; ``header``: that of its first representation, sealed or not.

    ``kept``: its octets, all representations of them, or none where they are let go.
    """

    identifier: str
    created_at: float
    header: bytes
    kept: tuple[KeptOctets, ...]
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToldOrWaiting:
    """A recipient as JSON has him; ``unfinished``: something is still to be done for him here."""

    entry: int
    waits: bool
    unfinished: bool
    fields: dict[str, Any]


def senders(connection: Connection) -> set[str]:
    """Everybody of whose messages something is kept."""
    found = connection.execute(select(messages.c.sender, messages.c.is_report).distinct()).all()
    own = {row.sender for row in found if not (row.is_report and _is_postmaster(row.sender))}
    for_them = (
        select(deliveries.c.recipient)
        .join(messages)
        .where(messages.c.is_report, messages.c.sender.startswith(f"{LOCAL}@"))
    )
    return {*own, *connection.execute(for_them.distinct()).scalars()}


def _is_postmaster(sender: str) -> bool:
    return sender.startswith(f"{LOCAL}@")


def sent_by(connection: Connection, owner: Endpoint) -> Iterator[SentMessage]:
    """Her messages and the reports for her, oldest first."""
    wanted = (
        select(messages.c.id)
        .where(_belongs_to(owner))
        .order_by(messages.c.created_at, messages.c.id)
    )
    for identifier in connection.execute(wanted).scalars().all():
        row = connection.execute(select(messages).where(messages.c.id == identifier)).one()
        fields = MESSAGE.encode(row)
        kept: tuple[KeptOctets, ...] = ()
        if row.emptied_at is None:
            kept = _if_whole(connection, row)
            if not kept:
                # It has expired, and its octets are being let go just now, piece by piece.
                fields["emptied_at"] = row.expires_at
            elif row.sealed is None:
                del fields["header"]
        yield SentMessage(identifier, row.created_at, row.header, kept, fields)


def further_representations_of(connection: Connection, identifier: str) -> Iterator[dict[str, Any]]:
    """The representations of a message beside the first one, as JSON has them."""
    found = connection.execute(
        select(representations)
        .where(representations.c.message == identifier)
        .order_by(representations.c.number)
    )
    return (REPRESENTATION.encode(row) for row in found.all())


def octets_of(connection: Connection, identifier: str, kept: KeptOctets) -> Iterator[bytes]:
    """The octets of one representation of a message, piece by piece."""
    behind = kept.first_piece + (kept.size + PIECE - 1) // PIECE
    for number in range(kept.first_piece, behind):
        yield connection.execute(
            select(pieces.c.octets).where(pieces.c.message == identifier, pieces.c.number == number)
        ).scalar_one()


def recipients_of(connection: Connection, identifier: str) -> Iterator[ToldOrWaiting]:
    """The recipients of a message, in the order of injection."""
    last = -1
    while True:
        found = connection.execute(
            select(deliveries)
            .where(deliveries.c.message == identifier, deliveries.c.id > last)
            .order_by(deliveries.c.id)
            .limit(AT_ONCE)
        ).all()
        for row in found:
            waits = row.state in WAITING
            unfinished = waits or row.report_due is not None
            yield ToldOrWaiting(row.id, waits, unfinished, RECIPIENT.encode(row))
        if len(found) < AT_ONCE:
            return
        last = found[-1].id


def hand_over(database: Database, entries: Sequence[int], now: float) -> int:
    """Leaves these entries to another host: nobody is told of them here any more; how many.

    Their access codes stay, so that they can be exported again. Raises Forbidden, and changes
    nothing, where a notifier is at work on one of them.
    """
    changed = 0
    with database.transaction() as connection:
        for start in range(0, len(entries), AT_ONCE):
            meant = deliveries.c.id.in_(entries[start : start + AT_ONCE])
            _require_no_notifier(connection, meant, now)
            connection.execute(update(deliveries).where(meant).values(report_due=None))
            changed += connection.execute(
                update(deliveries)
                .where(meant, deliveries.c.state.in_(WAITING))
                .values(next_try_at=None, last_answer=HANDED_OVER)
            ).rowcount
    return changed


def _require_no_notifier(connection: Connection, meant: ColumnElement[bool], now: float) -> None:
    held = select(deliveries.c.lease_owner).where(meant, deliveries.c.lease_until > now).limit(1)
    owner = connection.execute(held).scalar()
    if owner is not None:
        raise Forbidden(
            f"xhmtp-notify is at work ({owner}): stop it, and try again when its lease is over"
        )


def _belongs_to(owner: Endpoint) -> ColumnElement[bool]:
    address, postmaster = str(owner.canonical), str(Endpoint(LOCAL, owner.domain))
    for_her = (
        select(deliveries.c.id)
        .where(deliveries.c.message == messages.c.id, deliveries.c.recipient == address)
        .exists()
    )
    return or_(
        and_(
            messages.c.sender == address,
            or_(~messages.c.is_report, messages.c.sender != postmaster),
        ),
        and_(messages.c.sender == postmaster, messages.c.is_report, for_her),
    )


def _if_whole(connection: Connection, message: Row[Any]) -> tuple[KeptOctets, ...]:
    """All representations of a message, if no octet of them is missing."""
    further = connection.execute(
        select(
            representations.c.number,
            representations.c.sealed,
            representations.c.first_piece,
            representations.c.size,
        )
        .where(representations.c.message == message.id)
        .order_by(representations.c.number)
    )
    found = (
        KeptOctets(0, message.sealed is not None, 0, message.size),
        *(
            KeptOctets(row.number, row.sealed is not None, row.first_piece, row.size)
            for row in further
        ),
    )
    length = func.coalesce(func.sum(func.length(pieces.c.octets)), 0)
    there = connection.execute(select(length).where(pieces.c.message == message.id)).scalar_one()
    return found if there == sum(one.size for one in found) else ()
