"""What somebody has sent, read out to be kept elsewhere: for `xhmtp export` (docs/moving.md).

To a user belong the messages that she has sent, and the reports that her agent made for her: her
inbox leads to them. Everything is read in the caller's transaction, so that it fits together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Forbidden
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.status import WAITING
from xhmtp_wsgi.row_json import RowForm
from xhmtp_wsgi.sender.failure_notice import LOCAL
from xhmtp_wsgi.sender.tables import deliveries, messages, pieces

MESSAGE = RowForm(messages, optional={"header"})  # there only where the octets are let go
RECIPIENT = RowForm(
    deliveries,
    # A lease is one notifier's, and ends with it; the rest follows from the recipient's address.
    without={"id", "domain", "lease_owner", "lease_until"},
)
HANDED_OVER = "handed over: another host tells him (xhmtp export --hand-over)"
AT_ONCE = 500  # rows


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message as JSON has it; ``has_octets``: it is kept whole."""

    identifier: str
    created_at: float
    has_octets: bool
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
        has_octets = row.emptied_at is None and _kept(connection, identifier) == row.size
        if has_octets:
            del fields["header"]
        elif row.emptied_at is None:
            # It has expired, and its octets are being let go just now, piece by piece.
            fields["emptied_at"] = row.expires_at
        yield SentMessage(identifier, row.created_at, has_octets, fields)


def octets_of(connection: Connection, identifier: str) -> Iterator[bytes]:
    """The octets of a message, piece by piece."""
    numbers = select(pieces.c.number).where(pieces.c.message == identifier)
    for number in connection.execute(numbers.order_by(pieces.c.number)).scalars().all():
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


def _kept(connection: Connection, identifier: str) -> int:
    length = func.coalesce(func.sum(func.length(pieces.c.octets)), 0)
    found = connection.execute(select(length).where(pieces.c.message == identifier))
    return int(found.scalar_one())
