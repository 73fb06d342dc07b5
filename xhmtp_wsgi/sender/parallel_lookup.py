"""Many look-ups at once, but few at one domain, and none waited for beyond a deadline.

A domain that cannot be reached is asked for one or two of its addresses, and not for all.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from xhmtp_wsgi.errors import (
    AddressRefused,
    BadDomain,
    ConnectionFailed,
    DeadlineExceeded,
    DNSUnavailable,
    NoService,
    XHMTPError,
)
from xhmtp_wsgi.protocol.endpoint import Endpoint

AT_ONCE = 8
AT_ONE_DOMAIN = 2
LATE = "their agent did not answer in time"
_OF_THE_DOMAIN = (AddressRefused, BadDomain, ConnectionFailed, DNSUnavailable, NoService)
"""What is said so of one address would be said of each other address of its domain."""

Found = TypeVar("Found")


class ParallelLookup(Generic[Found]):
    """One round of look-ups; a result is what was found, or the error that it ended in."""

    def __init__(
        self,
        ask: Callable[[Endpoint, float], Found],
        endpoints: Iterable[Endpoint],
        within: float,
        monotonic: Callable[[], float],
    ) -> None:
        """``ask`` gets an endpoint and the seconds that it has, and raises Permanent or Transient.

        It is called on other threads; ``within`` so many seconds all are answered.
        """
        self._ask = ask
        self._waiting = list(dict.fromkeys(endpoints))
        self._running: dict[Future[Found], Endpoint] = {}
        self._end = monotonic() + within
        self._monotonic = monotonic
        self._results: dict[Endpoint, Found | XHMTPError] = {}

    def run(self) -> dict[Endpoint, Found | XHMTPError]:
        """Asks for all of them."""
        if not self._waiting:
            return {}
        pool = ThreadPoolExecutor(AT_ONCE, "xhmtp-keys")
        try:
            while self._waiting or self._running:
                self._begin(pool)
                done, _ = wait(self._running, max(self._left(), 0.0), FIRST_COMPLETED)
                if not done:
                    break
                for future in done:
                    self._finish(future)
        finally:
            # Who is late ends by his own deadline, and is not waited for.
            pool.shutdown(wait=False, cancel_futures=True)
        for endpoint in [*self._waiting, *self._running.values()]:
            self._results[endpoint] = DeadlineExceeded(LATE)
        return self._results

    def _left(self) -> float:
        return self._end - self._monotonic()

    def _begin(self, pool: ThreadPoolExecutor) -> None:
        at_domain = Counter(endpoint.domain for endpoint in self._running.values())
        later = []
        for endpoint in self._waiting:
            full = len(self._running) >= AT_ONCE or at_domain[endpoint.domain] >= AT_ONE_DOMAIN
            if full or self._left() <= 0:
                later.append(endpoint)
                continue
            at_domain[endpoint.domain] += 1
            self._running[pool.submit(self._ask, endpoint, self._left())] = endpoint
        self._waiting = later

    def _finish(self, future: Future[Found]) -> None:
        endpoint = self._running.pop(future)
        try:
            self._results[endpoint] = future.result()
        except XHMTPError as error:
            self._results[endpoint] = error
            if isinstance(error, _OF_THE_DOMAIN):
                self._give_up(endpoint.domain, error)

    def _give_up(self, domain: str, error: XHMTPError) -> None:
        for endpoint in self._waiting:
            if endpoint.domain == domain:
                self._results[endpoint] = error
        self._waiting = [endpoint for endpoint in self._waiting if endpoint.domain != domain]
