"""The notification queue: who is still to be told, claimed for a bounded time and reported back.

An entry is claimed by one statement, which also writes down the try (its number, and when the next
would be) before anything is sent; so a crash in the middle neither loses an entry nor hammers its
destination, and no two notifiers ever work on the same one. A lease that has run out frees it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select, update

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.sender.retry import RetrySchedule
from xhmtp_wsgi.sender.tables import deliveries, messages


@dataclass(frozen=True, slots=True)
class Claim:
    """An entry of the queue, held by one notifier until its lease ends."""

    id: int
    message: str
    recipient: Endpoint
    code: str = field(repr=False)
    tries: int
    queued_at: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a try."""

    claim: Claim
    state: State
    status: int | None
    answer: str
    next_try_at: float | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry as `xhmtp queue list` shows it."""

    message: str
    sender: str
    recipient: str
    state: State
    queued_at: float
    tries: int
    next_try_at: float
    last_answer: str | None


def due_domains(database: Database, now: float) -> list[str]:
    """The domains for which an entry is due, those that wait longest first."""
    with database.reading() as connection:
        found = connection.execute(
            select(deliveries.c.domain)
            .where(_is_due(now))
            .group_by(deliveries.c.domain)
            .order_by(func.min(deliveries.c.next_try_at))
        )
        return list(found.scalars())


def claim(
    database: Database,
    domain: str,
    limit: int,
    *,
    owner: str,
    now: float,
    lease: float,
    schedule: RetrySchedule,
) -> list[Claim]:
    """Claims at most ``limit`` due entries of a domain, for ``lease`` seconds.

    The try is counted, and the next one set, in the same transaction.
    """
    due = (
        select(deliveries.c.id)
        .where(deliveries.c.domain == domain, _is_due(now))
        .order_by(deliveries.c.next_try_at)
        .limit(limit)
    )
    if not database.is_sqlite:
        # SQLite's writer lock serves the same end, and SQLAlchemy drops the clause there.
        due = due.with_for_update(skip_locked=True)
    with database.transaction() as connection:
        found = connection.execute(
            update(deliveries)
            .where(deliveries.c.id.in_(due))
            .values(
                lease_owner=owner,
                lease_until=now + lease,
                tries=deliveries.c.tries + 1,
                last_try_at=now,
            )
            .returning(
                deliveries.c.id,
                deliveries.c.message,
                deliveries.c.recipient,
                deliveries.c.code,
                deliveries.c.tries,
                deliveries.c.queued_at,
            )
        ).all()
        claims = [
            Claim(
                row.id,
                row.message,
                Endpoint.parse(row.recipient),
                row.code,
                row.tries,
                row.queued_at,
            )
            for row in found
        ]
        _set_next_tries(connection, claims, now, schedule)
    return claims


def record(database: Database, outcomes: Sequence[Outcome], now: float) -> None:
    """Writes down what became of tries, in one transaction, and ends their leases.

    A recipient who was told, or never will be, loses the plain access code: its hash is enough.
    An entry withdrawn in the meantime stays so.
    """
    finished = [outcome for outcome in outcomes if outcome.next_try_at is None]
    with database.transaction() as connection:
        for chosen, extra in ((outcomes, {}), (finished, {"code": None})):
            if not chosen:
                continue
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == bindparam("b_id"), deliveries.c.state != State.WITHDRAWN)
                .values(
                    state=bindparam("b_state"),
                    last_status=bindparam("b_status"),
                    last_answer=bindparam("b_answer"),
                    next_try_at=bindparam("b_next"),
                    notified_at=bindparam("b_notified"),
                    lease_owner=None,
                    lease_until=None,
                    **extra,
                ),
                [_bound(outcome, now) for outcome in chosen],
            )
        told = [outcome.claim.id for outcome in finished if outcome.state == State.NOTIFIED]
        if told:
            # Bob may have fetched it before we noted that he was told.
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id.in_(told), deliveries.c.fetched_at.is_not(None))
                .values(state=State.FETCHED)
            )


def release(database: Database, claims: Sequence[Claim], now: float) -> None:
    """Gives back entries that were claimed and not tried: due at once, the try not counted."""
    if not claims:
        return
    with database.transaction() as connection:
        connection.execute(
            update(deliveries)
            .where(deliveries.c.id == bindparam("b_id"), deliveries.c.next_try_at.is_not(None))
            .values(
                tries=deliveries.c.tries - 1,
                next_try_at=now,
                lease_owner=None,
                lease_until=None,
            ),
            [{"b_id": claim.id} for claim in claims],
        )


@dataclass(frozen=True, slots=True)
class Letter:
    """What a notification tells of a message."""

    sender: Endpoint
    header: bytes
    size: int
    digest: bytes
    expires_at: float


def letter(database: Database, identifier: str) -> Letter:
    """The message that is told of."""
    with database.reading() as connection:
        row = connection.execute(
            select(
                messages.c.sender,
                messages.c.header,
                messages.c.size,
                messages.c.digest,
                messages.c.expires_at,
            ).where(messages.c.id == identifier)
        ).one()
    return Letter(Endpoint.parse(row.sender), row.header, row.size, row.digest, row.expires_at)


def waiting(database: Database, limit: int) -> list[Waiting]:
    """The queue, those first that are due first."""
    with database.reading() as connection:
        found = connection.execute(
            select(deliveries, messages.c.sender)
            .join(messages)
            .where(deliveries.c.next_try_at.is_not(None))
            .order_by(deliveries.c.next_try_at, deliveries.c.id)
            .limit(limit)
        ).all()
    return [
        Waiting(
            row.message,
            row.sender,
            row.recipient,
            State(row.state),
            row.queued_at,
            row.tries,
            row.next_try_at,
            row.last_answer,
        )
        for row in found
    ]


def _is_due(now: float) -> ColumnElement[bool]:
    return and_(
        deliveries.c.next_try_at <= now,
        or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now),
    )


def _set_next_tries(
    connection: Connection, claims: Sequence[Claim], now: float, schedule: RetrySchedule
) -> None:
    if not claims:
        return
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == bindparam("b_id"))
        .values(next_try_at=bindparam("b_next")),
        [{"b_id": claim.id, "b_next": now + schedule.wait(claim.tries)} for claim in claims],
    )


def _bound(outcome: Outcome, now: float) -> dict[str, object]:
    return {
        "b_id": outcome.claim.id,
        "b_state": outcome.state,
        "b_status": outcome.status,
        "b_answer": outcome.answer,
        "b_next": outcome.next_try_at,
        "b_notified": now if outcome.state == State.NOTIFIED else None,
    }
