"""The notifier: takes what is due, has it told, records (docs/delivery.md).

RFC 5598's transfer step; `xhmtp-notify` runs it. Notifications go out side by side. A destination
that does not answer is tried once, and what else waits for it is put off; one that is slow keeps no
place from the others.
"""

import logging
import os
import secrets
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from xhmtp_wsgi import counters
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Transient
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.sender import destinations, queue
from xhmtp_wsgi.sender.attempt import INTERNAL_FAILURES, Attempts, Tried
from xhmtp_wsgi.sender.counting import counted
from xhmtp_wsgi.sender.destinations import Gate
from xhmtp_wsgi.sender.queue import Claim, Outcome, Terms
from xhmtp_wsgi.sender.reporting import report_all
from xhmtp_wsgi.sender.retry import RetrySchedule
from xhmtp_wsgi.sender.tidying import JUMPED, clock_jumped, tidy
from xhmtp_wsgi.sender.window import Window

logger = logging.getLogger(__name__)

RECORDED_AT_ONCE = 50  # outcomes in one transaction
LONGEST_UNRECORDED = 1.0  # seconds
SLOW = 1.0  # seconds after which a try keeps no place from others
MOST_THREADS = 128  # slow ones included

Progress = Callable[[int, int], None]
MoreWork = Callable[[Agent, Callable[[], bool]], int]
"""Work of another room in the same pass, until it is over: how many messages came of it."""


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


class Notifier:
    """Works through the queue, one pass at a time."""

    def __init__(
        self,
        agent: Agent,
        stop: Callable[[], bool] = lambda: False,
        progress: Progress = lambda done, due: None,
        more: Sequence[MoreWork] = (),
    ) -> None:
        """``stop``: asked between entries; once it says yes, nothing new is begun.

        ``progress``: told how many entries are done, and how many were due; ``more``: done once
        everybody who was due has been told, and what comes of it is told in the same pass.
        """
        self._agent = agent
        self._more = more
        self._stop = stop
        self._progress = progress
        settings = agent.settings
        self._terms = Terms(
            owner=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
            lease=settings.lease,
            schedule=RetrySchedule(
                settings.retry_first, settings.retry_longest, settings.give_up_after
            ),
            delay_report_after=settings.delay_report_after,
        )

    def run_pass(self) -> PassReport:
        """Tells everybody who is due, once; what could not be told waits for its next time.

        Then makes the reports that are due, tells of these too, and lets go of what has expired.
        Raises DatabaseUnavailable or StorageFull; what was under way is then tried again later.
        """
        database, clock = self._agent.database, self._agent.clock
        begun = clock()
        jumped = clock_jumped(begun, counters.read(database).get("last_pass_began_at"))
        with database.transaction() as connection:
            told = {"last_pass_began_at": begun}
            counters.put(connection, {**told, JUMPED: begun} if jumped else told)
        ends = self._agent.monotonic() + self._agent.settings.pass_limit

        def over() -> bool:
            return self._stop() or self._agent.monotonic() >= ends

        work = _Pass(self._agent, self._terms, over, self._progress)
        work.run()
        made = report_all(self._agent, self._terms.schedule, over)
        added = sum(one(self._agent, over) for one in self._more)
        if made + added and not over():
            work.run()
        tidy(self._agent, begun, over)
        with database.transaction() as connection:
            counters.put(connection, {"last_pass_ended_at": clock()})
        return work.report(made, (jumped,) if jumped else ())


class _Pass:
    """The state of one pass."""

    def __init__(
        self, agent: Agent, terms: Terms, over: Callable[[], bool], progress: Progress
    ) -> None:
        self._agent = agent
        self._terms = terms
        self._over = over
        self._progress = progress
        self._attempts = Attempts(agent, terms.schedule, terms.delay_report_after)
        self._pending: deque[tuple[str, int]] = deque()
        self._windows: dict[str, Window] = {}
        self._failed: set[str] = set()
        self._begun_at: dict[Future[Tried], tuple[str, float]] = {}
        self._ended: SimpleQueue[Future[Tried]] = SimpleQueue()
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
                    if not self._begun_at:
                        break
                    self._gather()
            finally:
                self._give_back(self._windows.values())
                for future in self._begun_at:
                    future.cancel()
        self._record()

    def _begin(self, pool: ThreadPoolExecutor) -> None:
        """Starts as many tries as there is room for, turn by turn between the destinations."""
        now = self._agent.monotonic()
        quick = sum(now - begun < SLOW for _, begun in self._begun_at.values())
        places = min(self._agent.settings.concurrency - quick, MOST_THREADS - len(self._begun_at))
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
                claim, until = window.claims.popleft()
                progress = True
                if now > until:
                    # Its lease may end before the try would: somebody else's turn.
                    continue
                window.under_way += 1
                future = pool.submit(self._attempts.make, claim)
                self._begun_at[future] = domain, now
                future.add_done_callback(self._ended.put)
                places -= 1

    def _refill(self, places: int) -> None:
        """Claims more where what was claimed has run out, in one transaction."""
        if sum(window.has_room for window in self._windows.values()) >= places:
            return
        settings = self._agent.settings
        wanted = {
            domain: window.wants_more
            for domain, window in self._windows.items()
            if window.wants_more
        }
        while self._pending and sum(wanted.values()) < 2 * settings.concurrency:
            domain, due = self._pending.popleft()
            self._windows[domain] = Window(due, settings.concurrency_per_destination)
            wanted[domain] = self._windows[domain].wants_more
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
        self._attempts.prepare(claim for found in claimed.values() for claim in found.claims)

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

    def _take_in(self, future: Future[Tried]) -> None:
        domain, _ = self._begun_at.pop(future)
        tried = future.result()
        window = self._windows[domain]
        if window.end(tried.effect):
            tried = self._fail(domain, window, tried)
        elif window.was_failing and not window.failed:
            window.was_failing = False
            destinations.recover(self._agent.database, domain)
        self._unrecorded.append(tried)
        if tried.own_fault is not None:
            self._to_mend[tried.own_fault] = None
        internal = tried.outcome.claim.internal_failures + 1
        if tried.outcome.traceback is not None and internal == INTERNAL_FAILURES:
            claim = tried.outcome.claim
            self._to_mend[
                f"set aside after {internal} internal errors: {claim.message} for "
                f"{claim.recipient}; 'xhmtp status {claim.message}' shows the last one"
            ] = None

    def _fail(self, domain: str, window: Window, tried: Tried) -> Tried:
        """Leaves a destination alone, and notes its failure with everything that waits for it.

        Next time another entry than this one shall try it, in case that the fault is this one's.
        """
        self._failed.add(domain)
        self._give_back([window])
        # After they are given back, so that they count among those that are due.
        database, now = self._agent.database, self._agent.clock()
        answer = tried.outcome.answer
        until = destinations.fail(
            database,
            domain,
            now=now,
            wait=tried.wait,
            answer=answer,
            schedule=self._terms.schedule,
        )
        put, expired = queue.put_off(
            database, domain, now=now, until=until, answer=answer, terms=self._terms
        )
        self._states[State.DEFERRED] += put
        self._states[State.EXPIRED] += expired
        logger.info("%s is left alone for %.0f s: %s", domain, until - now, answer)
        if tried.outcome.next_try_at is None:
            return tried
        later = max(tried.outcome.next_try_at, until + 1)
        return replace(tried, outcome=replace(tried.outcome, next_try_at=later))

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
