"""A deadline for the whole of a request, whatever the other side dribbles.

A time-out for each read is no bound: a server that sends an octet now and then passes it for ever.
So one thread for each Network, started when first needed, shuts a request's sockets down when its
time is over; whatever waits for them then ends. Only the network and its connections use this.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

IDLE = 5.0  # seconds after which the thread ends, if no request is under way


class Deadline:
    """The time of one request, and the sockets that it uses."""

    def __init__(self, end: float) -> None:
        """``end``: when it passes, on the watchdog's clock."""
        self.end = end
        self.passed = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def cover(self, connected: socket.socket) -> None:
        """Shuts this one down too, when the time is over."""
        # A descriptor of our own: TLS takes the first one over, and its number may be used again.
        ours = socket.socket(fileno=os.dup(connected.fileno()))
        with self._lock:
            self._sockets.append(ours)
            if self.passed:
                _shut_down(ours)

    def expire(self) -> None:
        """Ends whatever waits for the request's sockets."""
        with self._lock:
            self.passed = True
            for ours in self._sockets:
                _shut_down(ours)

    def release(self) -> None:
        """Lets the sockets go, as they are."""
        with self._lock:
            for ours in self._sockets:
                ours.close()
            self._sockets.clear()


class Watchdog:
    """Watches the requests of all threads. Not for use after a fork: make a new one."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._condition = threading.Condition()
        self._open: set[Deadline] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0
        self._present = threading.local()

    @contextmanager
    def until(self, end: float) -> Iterator[Deadline]:
        """Everything that this thread covers within, is shut down at ``end``."""
        deadline = Deadline(end)
        with self._condition:
            self._open.add(deadline)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="xhmtp-deadlines")
                self._thread.daemon = True
                self._thread.start()
            elif end < self._wakes_at:
                self._condition.notify()
        self._present.deadline = deadline
        try:
            yield deadline
        finally:
            self._present.deadline = None
            with self._condition:
                self._open.discard(deadline)
            deadline.release()

    def cover(self, connected: socket.socket) -> None:
        """Puts a socket under the deadline of this thread's request."""
        deadline: Deadline | None = getattr(self._present, "deadline", None)
        if deadline is not None:
            deadline.cover(connected)

    def _watch(self) -> None:
        with self._condition:
            while True:
                now = self._monotonic()
                for deadline in [one for one in self._open if one.end <= now]:
                    self._open.discard(deadline)
                    deadline.expire()
                wait = min((one.end - now for one in self._open), default=IDLE)
                self._wakes_at = now + wait
                told = self._condition.wait(wait)
                if not told and not self._open and wait >= IDLE:
                    self._thread = None
                    return


def _shut_down(ours: socket.socket) -> None:
    with suppress(OSError):
        ours.shutdown(socket.SHUT_RDWR)
