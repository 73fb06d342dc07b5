"""Destinations that fail: while a domain's agents do not answer, one entry at a time tries them.

A row stands for a domain only as long as it fails. The time of its next try is written down before
the try is made, so that of any number of notifiers one makes it.
"""

from collections.abc import Sequence
from enum import Enum

from sqlalchemy import Connection, delete, func, or_, select, update

from xhmtp_wsgi.database import Database, insert_or
from xhmtp_wsgi.sender.retry import RetrySchedule
from xhmtp_wsgi.sender.tables import destinations


class Gate(Enum):
    """How it stands with a destination."""

    OPEN = "nothing is known against it"
    PROBE = "it failed, and may be tried again now"
    CLOSED = "it failed, and its time has not come"


def gates(
    connection: Connection, domains: Sequence[str], now: float, horizon: float
) -> dict[str, Gate]:
    """The gates of those domains that have failed.

    A time further ahead than ``horizon`` seconds is that of a clock that was set back since.
    """
    if not domains:
        return {}
    found = connection.execute(
        select(destinations.c.domain, destinations.c.next_try_at).where(
            destinations.c.domain.in_(domains)
        )
    )
    return {
        row.domain: Gate.CLOSED if now < row.next_try_at <= now + horizon else Gate.PROBE
        for row in found
    }


def probe_begins(connection: Connection, domain: str, now: float, schedule: RetrySchedule) -> bool:
    """Writes down that a failed destination is tried again; False where another just did."""
    row = connection.execute(
        select(destinations.c.failures, destinations.c.next_try_at)
        .where(destinations.c.domain == domain)
        .with_for_update()
    ).one_or_none()
    if row is None:
        return False
    changed = connection.execute(
        update(destinations)
        .where(
            destinations.c.domain == domain,
            destinations.c.next_try_at == row.next_try_at,
            or_(
                destinations.c.next_try_at <= now,
                destinations.c.next_try_at > now + schedule.longest,
            ),
        )
        .values(next_try_at=now + schedule.wait(row.failures + 1))
    )
    return bool(changed.rowcount)


def fail(
    database: Database, domain: str, *, now: float, wait: float | None, answer: str,
    schedule: RetrySchedule,
) -> float:  # fmt: skip
    """Notes that a destination failed once more; returns when it is to be tried next.

    ``wait``: the seconds that its Retry-After asks for, in place of the schedule's.
    """
    with database.transaction() as connection:
        failures = connection.execute(
            select(destinations.c.failures).where(destinations.c.domain == domain)
        ).scalar()
        failures = (failures or 0) + 1
        until = now + (wait if wait is not None else schedule.wait(failures))
        statement = insert_or(connection, destinations).values(
            domain=domain,
            failures=1,
            failing_since=now,
            next_try_at=until,
            last_answer=answer,
        )
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[destinations.c.domain],
                set_={
                    "failures": destinations.c.failures + 1,
                    "next_try_at": until,
                    "last_answer": answer,
                },
            )
        )
    return until


def recover(database: Database, domain: str) -> None:
    """Notes that a destination answers again."""
    with database.transaction() as connection:
        connection.execute(delete(destinations).where(destinations.c.domain == domain))


def forget(connection: Connection, domains: Sequence[str] | None) -> None:
    """Opens the gates of these domains, or of all, as when an operator wants it tried now."""
    statement = delete(destinations)
    if domains is not None:
        statement = statement.where(destinations.c.domain.in_(domains))
    connection.execute(statement)


def failing(database: Database) -> int:
    """How many destinations fail."""
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(destinations)).scalar_one()
