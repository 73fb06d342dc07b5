"""When is a notification tried again, and when not? Pure functions of what was observed.

docs/protocol.md, section 5, has the table of codes; section 10 the times.
"""

import math
import random
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum

JITTER = 0.1  # of the wait, in either direction
SHORTEST_RETRY_AFTER, LONGEST_RETRY_AFTER = 60.0, 86400.0  # seconds
UNVERIFIED_FOR = 86400.0  # seconds for which a 401 is tried again
FEWEST_TRIES = 3  # before an entry is given up for its age: the clock may just have jumped


class Verdict(Enum):
    """What an answer means for the recipient."""

    DONE = "done"
    REFUSED = "refused"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Waits that double from ``first`` to ``longest`` seconds, spread by jitter."""

    first: float
    longest: float
    give_up_after: float
    chance: random.Random = field(default_factory=random.Random, compare=False)

    @property
    def doublings(self) -> int:
        """So many tries after the first the wait is the longest."""
        return max(1, math.ceil(math.log2(self.longest / self.first)))

    def wait(self, tries: int) -> float:
        """Seconds from the try of that number, counted from 1, to the next."""
        doubled = self.first * 2.0 ** min(tries - 1, 40)
        return min(doubled, self.longest) * self.chance.uniform(1 - JITTER, 1 + JITTER)


def verdict(status: int, unverified_for: float = 0.0) -> Verdict:
    """What an HTTP status means; ``unverified_for``: seconds since the first 401."""
    if status in (200, 201, 202, 204):
        return Verdict.DONE
    if status == 401:
        return Verdict.LATER if unverified_for < UNVERIFIED_FOR else Verdict.REFUSED
    if status in (408, 425, 429):
        return Verdict.LATER
    if 400 <= status < 500 or status in (501, 505):
        return Verdict.REFUSED
    return Verdict.LATER


def retry_after(value: str | None, now: float) -> float | None:
    """The seconds that a Retry-After header asks for (RFC 9110, 10.2.3), within bounds, or None."""
    if not value:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        wished = float(value)
    else:
        try:
            wished = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError, OSError):
            return None
    return min(max(wished, SHORTEST_RETRY_AFTER), LONGEST_RETRY_AFTER)
