"""Messages that could not be fetched a moment ago: they are not asked for again by themselves.

A browser that restores its tabs, or a page that is loaded again and again, would otherwise hold a
thread each time for as long as a slow agent takes. In one process only: it saves work, no more.
"""

import threading
from collections import OrderedDict

from xhmtp_wsgi.web.trouble import Trouble

FAILED_FOR = 60.0  # seconds
MOST = 1000  # messages that are remembered


class FailedReadings:
    """What one process remembers, by a notice's identifier. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[str, tuple[float, Trouble]] = OrderedDict()

    def note(self, identifier: str, trouble: Trouble, now: float) -> None:
        """Remembers that it failed; ``now``: of the monotonic clock."""
        with self._lock:
            self._found[identifier] = now + FAILED_FOR, trouble
            self._found.move_to_end(identifier)
            while len(self._found) > MOST:
                self._found.popitem(last=False)

    def find(self, identifier: str, now: float) -> Trouble | None:
        """How it failed a moment ago; None if it did not."""
        with self._lock:
            until, trouble = self._found.get(identifier, (now, None))
        return trouble if now < until else None

    def forget(self, identifier: str) -> None:
        """It can be read."""
        with self._lock:
            self._found.pop(identifier, None)
