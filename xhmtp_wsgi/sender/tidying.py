"""Tidying: messages past their Expires go, in bounded steps; what became of them stays for longer.

A clock that jumped ahead must not empty the outbox: where the last pass lies more than GAP in the
past, nothing is let go for a day, and the operator is told.
"""

from collections.abc import Callable

from sqlalchemy import and_, delete, select, update

from xhmtp_wsgi import counters
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.status import WAITING, State
from xhmtp_wsgi.sender.failure_notice import Kind
from xhmtp_wsgi.sender.outbox import note_emptied
from xhmtp_wsgi.sender.tables import deliveries, messages, pieces

GAP = 2 * 86400.0  # seconds between two passes above which the clock may have jumped
HELD_FOR = 86400.0  # seconds for which nothing is let go then
JUMPED = "clock_jumped_at"
PIECES_AT_ONCE = 64  # 16 MiB of octets in one transaction
MESSAGES_AT_ONCE = 100


def clock_jumped(now: float, previous: float | None) -> str | None:
    """What to tell the operator where the pass before this one lies too far in the past."""
    if previous is None or now - previous <= GAP:
        return None
    days = (now - previous) / 86400
    return f"the last pass was {days:.1f} days ago by this clock; nothing expires for a day"


def tidy(agent: Agent, now: float, over: Callable[[], bool]) -> None:
    """Lets go of what has expired, unless the clock jumped less than a day ago."""
    database = agent.database
    jumped = counters.read(database).get(JUMPED)
    if jumped is not None and 0 <= now - jumped < HELD_FOR:
        return
    while not over() and (emptied := _expired(database, now)):
        for identifier in emptied:
            _empty(database, identifier, now, over)
    while not over() and _forget(database, now - agent.settings.remember_for):
        pass


def _expired(database: Database, now: float) -> list[str]:
    """Messages whose time is over; not those that somebody was never tried to be told of."""
    untried = (
        select(deliveries.c.id)
        .where(
            deliveries.c.message == messages.c.id,
            deliveries.c.state.in_(WAITING),
            deliveries.c.tries == 0,
        )
        .exists()
    )
    with database.reading() as connection:
        found = connection.execute(
            select(messages.c.id)
            .where(messages.c.expires_at <= now, messages.c.emptied_at.is_(None), ~untried)
            .limit(MESSAGES_AT_ONCE)
        )
        return list(found.scalars())


def _empty(database: Database, identifier: str, now: float, over: Callable[[], bool]) -> None:
    """Lets a message's octets go; who was not told by now will not be."""
    some = (
        select(pieces.c.number)
        .where(pieces.c.message == identifier)
        .order_by(pieces.c.number.desc())
        .limit(PIECES_AT_ONCE)
    )
    with database.transaction() as connection:
        connection.execute(
            update(deliveries)
            .where(deliveries.c.message == identifier, deliveries.c.state.in_(WAITING))
            .values(
                state=State.EXPIRED,
                next_try_at=None,
                code=None,
                last_answer="the message's own time was over before he could be told",
                report_due=Kind.FAILED,
            )
        )
    while not over():
        with database.transaction() as connection:
            gone = connection.execute(
                delete(pieces).where(
                    and_(pieces.c.message == identifier, pieces.c.number.in_(some))
                )
            )
            if gone.rowcount < PIECES_AT_ONCE:
                note_emptied(connection, identifier, now)
                return


def _forget(database: Database, before: float) -> int:
    """Forgets some of the messages that expired that long ago, with all that is known of them."""
    some = (
        select(messages.c.id)
        .where(messages.c.expires_at <= before, messages.c.emptied_at.is_not(None))
        .limit(MESSAGES_AT_ONCE)
    )
    with database.transaction() as connection:
        return connection.execute(delete(messages).where(messages.c.id.in_(some))).rowcount
