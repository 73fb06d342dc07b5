"""The notification queue: who is still to be told, claimed for a bounded time and reported back.

An entry is claimed by one statement, which also writes down the try (its number, and when the next
would be) before anything is sent; so a crash in the middle neither loses an entry nor hammers its
destination, and no two notifiers ever work on the same one. A lease that has run out frees it.

A time that lies further ahead than any wait can reach was written by a clock that has been set back
since: such an entry is due, and such a lease is over.

Long, as every statement that touches the life of an entry stands here, where they can be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from xhmtp_wsgi import counters
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.sender.destinations import Gate, gates, probe_begins
from xhmtp_wsgi.sender.failure_notice import Kind
from xhmtp_wsgi.sender.retry import FEWEST_TRIES, LONGEST_RETRY_AFTER, RetrySchedule
from xhmtp_wsgi.sender.tables import deliveries

PUT_OFF_AT_ONCE = 1000  # entries of a destination in one transaction

# Statements are built once; the names of their parameters must not be those of columns.
_HAS_COME = deliveries.c.next_try_at <= bindparam("b_due_by")
_CLOCK_WAS_SET_BACK = deliveries.c.next_try_at > bindparam("b_due_never")
_IS_FREE = or_(
    deliveries.c.lease_until.is_(None),
    deliveries.c.lease_until <= bindparam("b_leases_at"),
    deliveries.c.lease_until > bindparam("b_leases_never"),
)
_IS_DUE = and_(or_(_HAS_COME, _CLOCK_WAS_SET_BACK), _IS_FREE)
_NEWEST = select(func.max(deliveries.c.id))
_DUE_DOMAINS = (
    select(deliveries.c.domain, func.count().label("entries"))
    # Said again, so that only what still waits is looked at, by its index.
    .where(_IS_DUE, deliveries.c.next_try_at.is_not(None))
    .group_by(deliveries.c.domain)
    .order_by(func.min(deliveries.c.next_try_at))
)
_RECORD = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("b_id"), deliveries.c.state != State.WITHDRAWN)
    .values(
        state=bindparam("b_state"),
        last_status=bindparam("b_status"),
        last_answer=bindparam("b_answer"),
        next_try_at=bindparam("b_next"),
        notified_at=bindparam("b_notified"),
        moved_to=func.coalesce(bindparam("b_moved"), deliveries.c.moved_to),
        unvouched=bindparam("b_unvouched"),
        unverified_since=bindparam("b_unverified"),
        internal_failures=bindparam("b_internal"),
        traceback=bindparam("b_traceback"),
        report_due=func.coalesce(bindparam("b_report"), deliveries.c.report_due),
        lease_owner=None,
        lease_until=None,
    )
)
_RECORD_FINISHED = _RECORD.values(code=None)
# Bob may have fetched it before we noted that he was told.
_FETCHED_MEANWHILE = (
    update(deliveries)
    .where(
        deliveries.c.id.in_(bindparam("b_told", expanding=True)),
        deliveries.c.fetched_at.is_not(None),
    )
    .values(state=State.FETCHED)
)
_RELEASE = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("b_id"), deliveries.c.next_try_at.is_not(None))
    .values(
        tries=deliveries.c.tries - 1,
        next_try_at=bindparam("b_now"),
        lease_owner=None,
        lease_until=None,
    )
)


@dataclass(frozen=True, slots=True)
class Claim:
    """An entry of the queue, held by one notifier until its lease ends."""

    id: int
    message: str
    recipient: Endpoint
    code: str = field(repr=False)
    tries: int
    queued_at: float
    unverified_since: float | None = None
    delay_told: bool = False
    internal_failures: int = 0
    representation: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a try."""

    claim: Claim
    state: State
    status: int | None
    answer: str
    next_try_at: float | None
    moved_to: str | None = None
    unvouched: str | None = None
    unverified_since: float | None = None
    traceback: str | None = None
    report: Kind | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms entries are claimed. ``lease`` is in seconds, ``owner`` names the notifier."""

    owner: str
    lease: float
    schedule: RetrySchedule
    delay_report_after: float


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was claimed of a destination; ``gate`` tells how it stood with it before."""

    claims: tuple[Claim, ...]
    gate: Gate


def due_domains(database: Database, now: float, terms: Terms) -> dict[str, int]:
    """The domains for which entries are due, those that wait longest first, and how many are."""
    with database.reading() as connection:
        found = connection.execute(_DUE_DOMAINS, _due(now, terms)).all()
    return {row.domain: row.entries for row in found}


def newest(database: Database) -> int:
    """A number that grows with each entry that is queued."""
    with database.reading() as connection:
        return int(connection.execute(_NEWEST).scalar() or 0)


def claim(
    database: Database, wanted: Mapping[str, int], *, now: float, due_by: float, terms: Terms
) -> dict[str, Claimed]:
    """Claims at most so many entries of each domain that were due at ``due_by``.

    The tries are counted, and the next ones set, in the same transaction. Of a destination that
    failed and is to be tried again now, one entry is claimed, by one notifier alone; of one whose
    time has not come, none.
    """
    with database.transaction() as connection:
        standing = gates(connection, list(wanted), now, _horizon(terms.schedule))
        found = {}
        for domain in sorted(wanted):
            gate = standing.get(domain, Gate.OPEN)
            claims: tuple[Claim, ...] = ()
            if gate is Gate.OPEN:
                claims = _claim(connection, domain, wanted[domain], now, due_by, terms)
            elif gate is Gate.PROBE and probe_begins(connection, domain, now, terms.schedule):
                claims = _claim(connection, domain, 1, now, due_by, terms)
            found[domain] = Claimed(claims, gate)
    return found


def _claim(
    connection: Connection, domain: str, limit: int, now: float, due_by: float, terms: Terms
) -> tuple[Claim, ...]:
    asked = {
        **_due(due_by, terms, leases_at=now),
        **_waits(now, terms.schedule),
        "b_domain": domain,
        "b_limit": limit,
        "b_owner": terms.owner,
        "b_now": now,
        "b_lease_until": now + terms.lease,
    }
    doublings = terms.schedule.doublings
    found = connection.execute(_claim_statement(doublings, set_back=False), asked).all()
    if len(found) < limit:
        # Apart from the others, which are then found in their order, and not sorted each time.
        asked["b_limit"] = limit - len(found)
        ahead = _claim_statement(doublings, set_back=True)
        found = [*found, *connection.execute(ahead, asked)]
    return tuple(
        Claim(
            row.id,
            row.message,
            Endpoint.parse(row.recipient),
            row.code,
            row.tries,
            row.queued_at,
            row.unverified_since,
            row.delay_told_at is not None,
            row.internal_failures,
            row.representation,
        )
        for row in sorted(found, key=lambda row: row.id)
    )


@cache
def _claim_statement(doublings: int, *, set_back: bool) -> ReturningUpdate[Any]:
    """Claims entries of one destination, for a schedule of so many waits before the longest.

    ``set_back``: not those whose time has come, but those that a clock wrote which was ahead.
    """
    which = _CLOCK_WAS_SET_BACK if set_back else _HAS_COME
    due = (
        select(deliveries.c.id)
        .where(deliveries.c.domain == bindparam("b_domain"), which, _IS_FREE)
        .order_by(deliveries.c.next_try_at, deliveries.c.id)
        .limit(bindparam("b_limit"))
        # SQLite's writer lock serves the same end, and SQLAlchemy drops the clause there.
        .with_for_update(skip_locked=True)
    )
    # When the try after the one that begins now would be, by how many were before.
    waits: dict[int, BindParameter[float]] = {
        before: bindparam(f"b_wait{before}") for before in range(doublings)
    }
    return (
        update(deliveries)
        .where(deliveries.c.id.in_(due))
        .values(
            lease_owner=bindparam("b_owner"),
            lease_until=bindparam("b_lease_until"),
            tries=deliveries.c.tries + 1,
            last_try_at=bindparam("b_now"),
            next_try_at=case(
                waits, value=deliveries.c.tries, else_=bindparam(f"b_wait{doublings}")
            ),
        )
        .returning(
            deliveries.c.id,
            deliveries.c.message,
            deliveries.c.recipient,
            deliveries.c.code,
            deliveries.c.tries,
            deliveries.c.queued_at,
            deliveries.c.unverified_since,
            deliveries.c.delay_told_at,
            deliveries.c.internal_failures,
            deliveries.c.representation,
        )
    )


def _waits(now: float, schedule: RetrySchedule) -> dict[str, float]:
    return {
        f"b_wait{before}": now + schedule.wait(before + 1)
        for before in range(schedule.doublings + 1)
    }


def record(
    database: Database,
    outcomes: Sequence[Outcome],
    now: float,
    counted: Mapping[str, float] | None = None,
) -> None:
    """Writes down what became of tries, in one transaction, and ends their leases.

    A recipient who was told, or never will be, loses the plain access code: its hash is enough.
    An entry withdrawn in the meantime stays so. ``counted``: added to the counters.
    """
    finished = [outcome for outcome in outcomes if outcome.next_try_at is None]
    waiting = [outcome for outcome in outcomes if outcome.next_try_at is not None]
    told = [outcome.claim.id for outcome in finished if outcome.state == State.NOTIFIED]
    with database.transaction() as connection:
        for statement, chosen in ((_RECORD, waiting), (_RECORD_FINISHED, finished)):
            if chosen:
                connection.execute(statement, [_bound(outcome, now) for outcome in chosen])
        if told:
            connection.execute(_FETCHED_MEANWHILE, {"b_told": told})
        counters.add(connection, counted or {})


def release(database: Database, claims: Sequence[Claim], now: float) -> None:
    """Gives back entries that were claimed and not tried: due at once, the try not counted."""
    if not claims:
        return
    with database.transaction() as connection:
        connection.execute(_RELEASE, [{"b_id": claim.id, "b_now": now} for claim in claims])


def put_off(
    database: Database, domain: str, *, now: float, until: float, answer: str, terms: Terms
) -> tuple[int, int]:
    """Notes a destination's failure with each of its entries that is due, in bounded steps.

    It counts as a try of each: none need be made. Returns how many are put off, and how many given
    up because their time was over.
    """
    put, expired = 0, 0
    over = now - terms.schedule.give_up_after
    due = and_(deliveries.c.domain == domain, _IS_DUE)
    tried = {
        "tries": deliveries.c.tries + 1,
        "last_try_at": now,
        "last_status": None,
        "last_answer": answer,
        "lease_owner": None,
        "lease_until": None,
    }
    ends = and_(due, deliveries.c.queued_at <= over, deliveries.c.tries >= FEWEST_TRIES - 1)
    given_up = {
        **tried,
        "state": State.EXPIRED,
        "next_try_at": None,
        "code": None,
        "report_due": Kind.FAILED,
    }
    late = and_(
        deliveries.c.queued_at <= now - terms.delay_report_after,
        deliveries.c.delay_told_at.is_(None),
    )
    waits = {
        **tried,
        "state": State.DEFERRED,
        "next_try_at": until,
        "report_due": case((late, Kind.DELAYED), else_=deliveries.c.report_due),
    }
    for which, values in ((ends, given_up), (due, waits)):
        while True:
            chosen = select(deliveries.c.id).where(which).limit(PUT_OFF_AT_ONCE)
            changed = _update(
                database, chosen.with_for_update(skip_locked=True), values, _due(now, terms)
            )
            expired, put = (
                (expired + changed, put) if values is given_up else (expired, put + changed)
            )
            if changed < PUT_OFF_AT_ONCE:
                break
    return put, expired


def _update(
    database: Database,
    chosen: Select[tuple[int]],
    values: Mapping[str, object],
    parameters: Mapping[str, float],
) -> int:
    with database.transaction() as connection:
        changed = connection.execute(
            update(deliveries).where(deliveries.c.id.in_(chosen)).values(**values), parameters
        )
        return int(changed.rowcount)


def note_move(database: Database, claim: Claim, recipient: Endpoint) -> None:
    """Notes where an inbox has moved to, before its new place is told: the code opens there."""
    with database.transaction() as connection:
        connection.execute(
            update(deliveries).where(deliveries.c.id == claim.id).values(moved_to=str(recipient))
        )


def _due(due_by: float, terms: Terms, leases_at: float | None = None) -> dict[str, float]:
    """The parameters of _IS_DUE."""
    leases_at = due_by if leases_at is None else leases_at
    return {
        "b_due_by": due_by,
        "b_due_never": due_by + _horizon(terms.schedule),
        "b_leases_at": leases_at,
        "b_leases_never": leases_at + 2 * terms.lease,
    }


def _horizon(schedule: RetrySchedule) -> float:
    """More seconds than any wait has."""
    return 2 * max(schedule.longest, LONGEST_RETRY_AFTER) + schedule.give_up_after


def _bound(outcome: Outcome, now: float) -> dict[str, object]:
    claim = outcome.claim
    return {
        "b_id": claim.id,
        "b_state": outcome.state,
        "b_status": outcome.status,
        "b_answer": outcome.answer,
        "b_next": outcome.next_try_at,
        "b_notified": now if outcome.state == State.NOTIFIED else None,
        "b_moved": outcome.moved_to,
        "b_unvouched": outcome.unvouched,
        "b_unverified": outcome.unverified_since,
        "b_internal": claim.internal_failures + 1 if outcome.traceback else 0,
        "b_traceback": outcome.traceback,
        "b_report": outcome.report,
    }
