"""What the notifier counts for monitoring, by the names that metrics.py shows."""

from collections import Counter
from collections.abc import Iterable, Mapping

from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.sender.judging import Tried

BOUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Seconds: the upper bounds of the classes into which the tries' durations fall."""

NO_ANSWER = "none"


def counted(tries: Iterable[Tried]) -> Mapping[str, float]:
    """The counters that these tries add to."""
    found: Counter[str] = Counter()
    seconds = 0.0
    for tried in tries:
        status = tried.outcome.status
        answer = NO_ANSWER if status is None else f"{status // 100}xx"
        found["tries"] += 1
        found[f"tries_answered:{answer}"] += 1
        if tried.outcome.state is not State.DEFERRED:
            found[f"recipients:{tried.outcome.state}"] += 1
        found[f"try_seconds_within:{_bound(tried.seconds)}"] += 1
        seconds += tried.seconds
    return {**found, "try_seconds": seconds} if found else {}


def _bound(seconds: float) -> str:
    return next((str(bound) for bound in BOUNDS if seconds <= bound), "+Inf")
