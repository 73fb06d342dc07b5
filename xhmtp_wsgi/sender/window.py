"""How many notifications are on their way to one destination at once, during one pass.

A destination begins with one; each that is taken makes room for more, up to the limit. One that
does not answer is left alone for the rest of the pass, and so is one that answers with one
temporary failure after another.
"""

from collections import deque
from collections.abc import Collection, Iterable

from xhmtp_wsgi.sender.judging import Effect
from xhmtp_wsgi.sender.queue import Claim

MOST_FAILURES = 5  # temporary ones, one after another


class Window:
    """The state of one destination in one pass."""

    def __init__(self, due: int, most: int) -> None:
        """``due``: how many entries wait for it; ``most``: how many may be on their way at once."""
        self.claims: deque[tuple[Claim, float]] = deque()
        self.left = due
        self.at_once = 1
        """How many it takes in one request."""
        self.under_way = 0
        self.failed = False
        self.was_failing = False
        self._alone: set[int] = set()
        self._most = most
        self._room = 1
        self._reached = False
        self._failures = 0

    @property
    def wants_more(self) -> int:
        """How many entries to claim now: none while there are some, or nothing is left."""
        if self.failed or self.claims or not self.left:
            return 0
        if not self._reached:
            return 0 if self.under_way else min(self.left, self.at_once)
        requests = 8 if self.at_once == 1 else 2
        return min(self.left, requests * self._room * self.at_once)

    @property
    def is_done(self) -> bool:
        """Is there nothing more to do for it?"""
        return not self.under_way and not self.claims and (self.failed or not self.left)

    @property
    def has_room(self) -> bool:
        """May another one begin?"""
        return not self.failed and bool(self.claims) and self.under_way < self._room

    def take(self, claims: Iterable[Claim], until: float) -> None:
        """Entries that were claimed, and until when each may begin."""
        given = [(claim, until) for claim in claims]
        self.claims.extend(given)
        self.left = max(0, self.left - len(given)) if given else 0

    def begin(self, now: float) -> list[tuple[Claim, float]]:
        """Those that go next, in one request; none where all that were claimed are too old.

        ``now``: a lease that may end before the try would leaves an entry to somebody else.
        """
        begun: list[tuple[Claim, float]] = []
        while self.claims and len(begun) < self.at_once:
            claim, until = self.claims[0]
            goes_alone = claim.id in self._alone
            if goes_alone and begun:
                break
            self.claims.popleft()
            if now > until:
                continue
            begun.append((claim, until))
            if goes_alone:
                break
        if begun:
            self.under_way += 1
        return begun

    def give_back(self, untried: Collection[tuple[Claim, float]]) -> None:
        """Takes back what was begun with others and not tried: each goes alone next time."""
        self._alone.update(claim.id for claim, _ in untried)
        self.claims.extendleft(reversed(list(untried)))

    def end(self, effect: Effect) -> bool:
        """Takes in how a request ended; did the destination fail by it?"""
        self.under_way -= 1
        if effect in (Effect.REACHED, Effect.NOTHING):
            self._reached = True
            self._failures = 0
            self._room = min(self._most, self._room * 2)
            return False
        self._failures += 1
        if effect is Effect.FAILED:
            self._reached = True
        fails = effect is Effect.UNREACHABLE or self._failures >= MOST_FAILURES
        if not (fails or self.was_failing) or self.failed:
            return False
        self.failed = True
        return True
