"""A pass of the notifier: what is due, told side by side, and recorded (docs/delivery.md).

A destination that does not answer is tried once, and what else waits for it is put off; one that is
slow keeps no place from the others.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Transient
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.sender import destinations, queue
from xhmtp_wsgi.sender.announcements import Announcements
from xhmtp_wsgi.sender.attempt import Attempts
from xhmtp_wsgi.sender.counting import counted
from xhmtp_wsgi.sender.destinations import Gate
from xhmtp_wsgi.sender.judging import INTERNAL_FAILURES, Effect, Tried
from xhmtp_wsgi.sender.queue import Claim, Outcome, Terms
from xhmtp_wsgi.sender.window import Window

logger = logging.getLogger(__name__)

RECORDED_AT_ONCE = 50  # outcomes in one transaction
LONGEST_UNRECORDED = 1.0  # seconds
SLOW = 1.0  # seconds after which a try keeps no place from others
MOST_THREADS = 128  # slow ones included
TOO_MANY = 429

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass did: how many were told, refused for good, given up, put off.

    ``reports``: how many senders were told of that; ``to_mend``: what an operator must see to.
    """

    notified: int = 0
    refused: int = 0
    expired: int = 0
    deferred: int = 0
    reports: int = 0
    to_mend: tuple[str, ...] = ()

    @property
    def tried(self) -> int:
        """All of them."""
        return self.notified + self.refused + self.expired + self.deferred


@dataclass(frozen=True, slots=True)
class _Request:
    """A request that is under way: when it began, and what it tells, each until its lease ends."""

    domain: str
    begun: float
    claims: Sequence[tuple[Claim, float]]


class NotifierPass:
    """The state of one pass."""

    def __init__(
        self,
        agent: Agent,
        terms: Terms,
        over: Callable[[], bool],
        progress: Progress,
        announcements: Announcements,
    ) -> None:
        """``over``: asked between tries; once it says yes, nothing new is begun."""
        self._agent = agent
        self._announcements = announcements
        self._terms = terms
        self._over = over
        self._progress = progress
        self._attempts = Attempts(agent, terms.schedule, terms.delay_report_after, announcements)
        self._pending: deque[tuple[str, int]] = deque()
        self._windows: dict[str, Window] = {}
        self._failed: set[str] = set()
        self._begun: dict[Future[tuple[Tried, ...]], _Request] = {}
        self._ended: SimpleQueue[Future[tuple[Tried, ...]]] = SimpleQueue()
        self._unrecorded: list[Tried] = []
        self._recorded_at = agent.monotonic()
        self._states: Counter[State] = Counter()
        self._to_mend: dict[str, None] = {}
        self._due_by = 0.0
        self._due = 0

    def report(self, reports: int, to_mend: tuple[str, ...]) -> PassReport:
        """What was done so far."""
        return PassReport(
            self._states[State.NOTIFIED],
            self._states[State.REFUSED],
            self._states[State.EXPIRED],
            self._states[State.DEFERRED],
            reports,
            (*to_mend, *self._to_mend),
        )

    def run(self) -> None:
        """Works on everything that is due now."""
        self._due_by = self._agent.clock()
        due = queue.due_domains(self._agent.database, self._due_by, self._terms)
        self._pending = deque(item for item in due.items() if item[0] not in self._failed)
        self._due = self._states.total() + sum(due.values())
        with ThreadPoolExecutor(MOST_THREADS, "xhmtp-notify") as pool:
            try:
                while True:
                    if not self._over():
                        self._begin(pool)
                    if not self._begun:
                        break
                    self._gather()
            finally:
                self._give_back(self._windows.values())
                for future in self._begun:
                    future.cancel()
        self._record()

    def _begin(self, pool: ThreadPoolExecutor) -> None:
        """Starts as many tries as there is room for, turn by turn between the destinations."""
        now = self._agent.monotonic()
        quick = sum(now - request.begun < SLOW for request in self._begun.values())
        places = min(self._agent.settings.concurrency - quick, MOST_THREADS - len(self._begun))
        if places <= 0:
            return
        self._refill(places)
        progress = True
        while progress and places > 0:
            progress = False
            for domain, window in self._windows.items():
                if places <= 0:
                    return
                if not window.has_room:
                    continue
                progress = True
                claims = window.begin(now)
                if not claims:
                    continue
                future = pool.submit(self._attempts.make, [claim for claim, _ in claims])
                self._begun[future] = _Request(domain, now, claims)
                future.add_done_callback(self._ended.put)
                places -= 1

    def _refill(self, places: int) -> None:
        """Claims more where what was claimed has run out, in one transaction."""
        if sum(window.has_room for window in self._windows.values()) >= places:
            return
        settings = self._agent.settings
        for domain, window in self._windows.items():
            window.at_once = self._announcements.at_once(domain)
        wanted = {
            domain: window.wants_more
            for domain, window in self._windows.items()
            if window.wants_more
        }
        while self._pending and sum(wanted.values()) < 2 * settings.concurrency:
            domain, due = self._pending.popleft()
            window = self._windows[domain] = Window(due, settings.concurrency_per_destination)
            window.at_once = self._announcements.at_once(domain)
            wanted[domain] = window.wants_more
        if not wanted:
            return
        until = self._agent.monotonic() + settings.lease - settings.try_deadline
        claimed = queue.claim(
            self._agent.database,
            wanted,
            now=self._agent.clock(),
            due_by=self._due_by,
            terms=self._terms,
        )
        for domain, found in claimed.items():
            window = self._windows[domain]
            window.take(found.claims, until)
            window.was_failing |= found.gate is Gate.PROBE
        for domain in [name for name, window in self._windows.items() if window.is_done]:
            del self._windows[domain]
        # Those of a batch are read when it is made: all at once, they would not be kept so long.
        self._attempts.prepare(
            claim
            for domain, found in claimed.items()
            if self._announcements.at_once(domain) == 1
            for claim in found.claims
        )

    def _gather(self) -> None:
        """Waits for a try to end, and takes in what has ended."""
        waits = LONGEST_UNRECORDED / 4
        try:
            self._take_in(self._ended.get(timeout=waits))
            while True:
                self._take_in(self._ended.get_nowait())
        except Empty:
            pass
        late = self._agent.monotonic() - self._recorded_at >= LONGEST_UNRECORDED
        if len(self._unrecorded) >= RECORDED_AT_ONCE or late:
            self._record()

    def _take_in(self, future: "Future[tuple[Tried, ...]]") -> None:
        request = self._begun.pop(future)
        tries: Sequence[Tried] = future.result()
        window = self._windows[request.domain]
        tried = {one.outcome.claim.id for one in tries}
        window.give_back([one for one in request.claims if one[0].id not in tried])
        if window.end(_effect(tries)):
            tries = self._fail(request.domain, window, tries)
        elif window.was_failing and not window.failed:
            window.was_failing = False
            destinations.recover(self._agent.database, request.domain)
        self._unrecorded += tries
        for one in tries:
            self._note_what_to_mend(one)

    def _note_what_to_mend(self, tried: Tried) -> None:
        if tried.own_fault is not None:
            self._to_mend[tried.own_fault] = None
        claim = tried.outcome.claim
        internal = claim.internal_failures + 1
        if tried.outcome.traceback is not None and internal == INTERNAL_FAILURES:
            self._to_mend[
                f"set aside after {internal} internal errors: {claim.message} for "
                f"{claim.recipient}; 'xhmtp status {claim.message}' shows the last one"
            ] = None

    def _fail(self, domain: str, window: Window, tries: Sequence[Tried]) -> list[Tried]:
        """Leaves a destination alone, and notes its failure with everything that waits for it.

        Next time another entry than these shall try it, in case that the fault is theirs.
        """
        self._failed.add(domain)
        self._give_back([window])
        # After they are given back, so that they count among those that are due.
        database, now = self._agent.database, self._agent.clock()
        told = [one for one in tries if one.effect in (Effect.FAILED, Effect.UNREACHABLE)]
        answer = told[0].outcome.answer
        until = destinations.fail(
            database,
            domain,
            now=now,
            wait=max((one.wait for one in told if one.wait is not None), default=None),
            answer=answer,
            schedule=self._terms.schedule,
        )
        put, expired = queue.put_off(
            database, domain, now=now, until=until, answer=answer, terms=self._terms
        )
        self._states[State.DEFERRED] += put
        self._states[State.EXPIRED] += expired
        logger.info("%s is left alone for %.0f s: %s", domain, until - now, answer)
        return [_not_before(one, until + 1) for one in tries]

    def _give_back(self, windows: Iterable[Window]) -> None:
        claims: list[Claim] = []
        for window in windows:
            claims += [claim for claim, _ in window.claims]
            window.claims.clear()
        try:
            queue.release(self._agent.database, claims, self._agent.clock())
        except Transient as error:
            # They are free again when their lease ends.
            logger.warning("entries are not given back: %s", error)

    def _record(self) -> None:
        if self._unrecorded:
            outcomes: list[Outcome] = [tried.outcome for tried in self._unrecorded]
            queue.record(
                self._agent.database, outcomes, self._agent.clock(), counted(self._unrecorded)
            )
            self._states.update(outcome.state for outcome in outcomes)
            self._unrecorded = []
            self._progress(self._states.total(), self._due)
        self._recorded_at = self._agent.monotonic()


def _effect(tries: Sequence[Tried]) -> Effect:
    """What a request tells of a destination, where it told of several."""
    found = {one.effect for one in tries}
    wants_no_more = any(one.outcome.status == TOO_MANY for one in tries)
    if wants_no_more or found <= {Effect.UNREACHABLE, Effect.NOTHING}:
        order = (Effect.UNREACHABLE, Effect.REACHED)
    else:
        order = (Effect.REACHED, Effect.FAILED)
    return next((effect for effect in order if effect in found), Effect.NOTHING)


def _not_before(tried: Tried, earliest: float) -> Tried:
    """The same, tried again no sooner than that."""
    if tried.outcome.next_try_at is None:
        return tried
    later = max(tried.outcome.next_try_at, earliest)
    return replace(tried, outcome=replace(tried.outcome, next_try_at=later))
