"""The queue as an operator sees it and has a hand in it: `xhmtp queue list|retry|cancel`."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, select, true, update

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.access_code import is_identifier
from xhmtp_wsgi.protocol.status import WAITING, State
from xhmtp_wsgi.sender import destinations
from xhmtp_wsgi.sender.failure_notice import Kind
from xhmtp_wsgi.sender.judging import INTERNAL_FAILURES
from xhmtp_wsgi.sender.tables import deliveries, messages
from xhmtp_wsgi.sender.tables import destinations as destination_table

CANCELLED = "cancelled by the operator of the sender's agent"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry of the queue. Times are seconds since the epoch."""

    message: str
    sender: str
    recipient: str
    state: State
    queued_at: float
    tries: int
    next_try_at: float
    last_answer: str | None
    set_aside: bool


@dataclass(frozen=True, slots=True)
class WaitingDomain:
    """All that waits for one destination. ``failures``: 0 where it does not fail as a whole."""

    domain: str
    entries: int
    oldest_at: float
    next_try_at: float
    failures: int
    last_answer: str | None


@dataclass(frozen=True, slots=True)
class QueueState:
    """The queue in figures; ``oldest_at`` is None where it is empty."""

    entries: int
    oldest_at: float | None
    set_aside: int
    failing_destinations: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which entries: of a message ID, a recipient's address, or a domain; all where it is None."""

    what: str | None = None

    def condition(self) -> ColumnElement[bool]:
        """The entries of the queue that are meant."""
        waits = and_(deliveries.c.state.in_(WAITING), deliveries.c.next_try_at.is_not(None))
        return and_(waits, self._which())

    def _which(self) -> ColumnElement[bool]:
        if self.what is None:
            return true()
        if is_identifier(self.what):
            return deliveries.c.message == self.what
        if "@" in self.what:
            return deliveries.c.recipient == self.what
        return deliveries.c.domain == self.what.lower()


def waiting(database: Database, limit: int, chosen: Chosen | None = None) -> list[Waiting]:
    """Entries of the queue, those first that are due first."""
    with database.reading() as connection:
        found = connection.execute(
            select(deliveries, messages.c.sender)
            .join(messages)
            .where((chosen or Chosen()).condition())
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
            row.internal_failures >= INTERNAL_FAILURES,
        )
        for row in found
    ]


def waiting_domains(database: Database) -> list[WaitingDomain]:
    """The queue by destination, the longest first."""
    with database.reading() as connection:
        found = connection.execute(
            select(
                deliveries.c.domain,
                func.count().label("entries"),
                func.min(deliveries.c.queued_at).label("oldest_at"),
                func.min(deliveries.c.next_try_at).label("next_try_at"),
                func.max(deliveries.c.last_answer).label("last_answer"),
                destination_table.c.failures,
                destination_table.c.last_answer.label("failure"),
            )
            .outerjoin(destination_table, destination_table.c.domain == deliveries.c.domain)
            .where(Chosen().condition())
            .group_by(
                deliveries.c.domain,
                destination_table.c.failures,
                destination_table.c.last_answer,
            )
            .order_by(func.count().desc(), deliveries.c.domain)
        ).all()
    return [
        WaitingDomain(
            row.domain,
            row.entries,
            row.oldest_at,
            row.next_try_at,
            row.failures or 0,
            row.failure or row.last_answer,
        )
        for row in found
    ]


def state(database: Database) -> QueueState:
    """The queue in figures."""
    with database.reading() as connection:
        row = connection.execute(
            select(
                func.count().label("entries"), func.min(deliveries.c.queued_at).label("oldest")
            ).where(Chosen().condition())
        ).one()
        set_aside = connection.execute(
            select(func.count())
            .select_from(deliveries)
            .where(Chosen().condition(), deliveries.c.internal_failures >= INTERNAL_FAILURES)
        ).scalar_one()
    return QueueState(row.entries, row.oldest, set_aside, destinations.failing(database))


def retry(database: Database, chosen: Chosen, now: float) -> int:
    """Makes entries due at once, those set aside too; returns how many."""
    with database.transaction() as connection:
        meant = select(deliveries.c.domain).where(chosen.condition()).distinct()
        destinations.forget(connection, list(connection.execute(meant).scalars()))
        changed = connection.execute(
            update(deliveries)
            .where(chosen.condition())
            .values(next_try_at=now, internal_failures=0)
        )
        return int(changed.rowcount)


def cancel(database: Database, chosen: Chosen) -> int:
    """Gives entries up, so that their senders are told; returns how many."""
    with database.transaction() as connection:
        changed = connection.execute(
            update(deliveries)
            .where(chosen.condition())
            .values(
                state=State.EXPIRED,
                next_try_at=None,
                code=None,
                last_answer=CANCELLED,
                report_due=Kind.FAILED,
            )
        )
        return int(changed.rowcount)
