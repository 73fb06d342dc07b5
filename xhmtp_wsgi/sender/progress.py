"""How far messages have come to all their recipients, counted: for lists of what was sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.status import WAITING, State
from xhmtp_wsgi.sender.tables import deliveries


@dataclass(frozen=True, slots=True)
class Progress:
    """How many recipients are in each state; ``reasons``: where all in a state have the same."""

    counts: Mapping[State, int]
    reasons: Mapping[State, str]

    @property
    def total(self) -> int:
        """All recipients."""
        return sum(self.counts.values())

    @property
    def waiting(self) -> int:
        """Those with whom the notifier still has work."""
        return sum(self.counts.get(state, 0) for state in WAITING)


NOBODY = Progress({}, {})


def progress_of(database: Database, identifiers: Sequence[str]) -> dict[str, Progress]:
    """That of each of these messages that has recipients, by its ID."""
    counts: dict[str, dict[State, int]] = {}
    reasons: dict[str, dict[State, str]] = {}
    with database.reading() as connection:
        found = connection.execute(
            select(
                deliveries.c.message,
                deliveries.c.state,
                func.count().label("recipients"),
                func.min(deliveries.c.last_answer).label("first"),
                func.max(deliveries.c.last_answer).label("last"),
            )
            .where(deliveries.c.message.in_(list(identifiers)[:1000]))
            .group_by(deliveries.c.message, deliveries.c.state)
        ).all()
    for row in found:
        counts.setdefault(row.message, {})[State(row.state)] = row.recipients
        if row.first and row.first == row.last:
            reasons.setdefault(row.message, {})[State(row.state)] = row.first
    return {name: Progress(states, reasons.get(name, {})) for name, states in counts.items()}
