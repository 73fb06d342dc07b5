"""Announcements: which domains take many notifications in one request (protocol, section 5).

Heard with their answers, and kept in memory as long as a notifier runs: one that starts afresh
tells a domain of one message first, as it does anyhow.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable

from xhmtp_wsgi.protocol.batch import Announcement

KEPT_FOR = 3600.0  # seconds
MOST_KEPT = 10_000  # domains
MOST_AT_ONCE = 100  # notifications, whatever is announced


class Announcements:
    """What domains have announced; safe to be used by several threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._heard: OrderedDict[str, tuple[float, Announcement | None]] = OrderedDict()

    def of(self, domain: str) -> Announcement | None:
        """How large the batches are that a domain takes; None where it takes none."""
        with self._lock:
            until, announced = self._heard.get(domain, (0.0, None))
        return announced if self._monotonic() < until else None

    def at_once(self, domain: str) -> int:
        """How many notifications may go to a domain in one request."""
        announced = self.of(domain)
        return 1 if announced is None else min(announced.notifications, MOST_AT_ONCE)

    def hear(self, domain: str, field: str | None) -> None:
        """Takes in what a domain's answer says; none where it says nothing any more."""
        announced = Announcement.parse(field)
        with self._lock:
            until, before = self._heard.get(domain, (0.0, None))
            if domain in self._heard and before is None and self._monotonic() < until:
                # It announces what it did not do: not believed for a while.
                return
            self._heard.pop(domain, None)
            if announced is not None:
                self._keep(domain, announced)

    def disbelieve(self, domain: str) -> None:
        """A domain did not take a batch: it gets none for a while, whatever it announces."""
        with self._lock:
            self._heard.pop(domain, None)
            self._keep(domain, None)

    def _keep(self, domain: str, announced: Announcement | None) -> None:
        self._heard[domain] = self._monotonic() + KEPT_FOR, announced
        while len(self._heard) > MOST_KEPT:
            self._heard.popitem(last=False)
