"""The notifier: takes what is due, asks the DNS, POSTs, records (docs/protocol.md, section 5).

RFC 5598's transfer step; `xhmtp-notify` runs it. Notifications go out side by side, a few to each
domain at a time. A domain whose agent cannot be reached is not tried again in the same pass: what
else waits for it goes back into the queue.

Security: log lines name messages and recipients, never access codes; the other side's words are cut
and made printable before they are kept.
"""

import logging
import os
import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.discovery import MAX_TARGETS_TRIED, AgentTarget
from xhmtp_wsgi.errors import (
    AddressRefused,
    BadDomain,
    ConnectionFailed,
    DNSUnavailable,
    NoService,
    Permanent,
    Transient,
    XHMTPError,
)
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.notification import encode, header_block_for
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.routes import inbox_path, message_path
from xhmtp_wsgi.sender import queue
from xhmtp_wsgi.sender.queue import Claim, Outcome
from xhmtp_wsgi.sender.retry import RetrySchedule, Verdict, retry_after, verdict

logger = logging.getLogger(__name__)

CLAIMED_AT_ONCE = 50  # entries of one domain
RECORDED_AT_ONCE = 50  # outcomes in one transaction
LONGEST_UNRECORDED = 1.0  # seconds
ANSWER_KEPT = 200  # characters of the other side's words


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass did: how many were told, refused for good, given up, put off."""

    notified: int = 0
    refused: int = 0
    expired: int = 0
    deferred: int = 0

    def plus(self, outcomes: Iterable[Outcome]) -> "PassReport":
        """This report with more outcomes counted."""
        states = [outcome.state for outcome in outcomes]
        return PassReport(
            self.notified + states.count(State.NOTIFIED),
            self.refused + states.count(State.REFUSED),
            self.expired + states.count(State.EXPIRED),
            self.deferred + states.count(State.DEFERRED),
        )


@dataclass(frozen=True, slots=True)
class _Tried:
    """An outcome, and whether the destination as a whole could not be reached."""

    outcome: Outcome
    unreachable: bool


class Notifier:
    """Works through the queue, one pass at a time."""

    def __init__(self, agent: Agent, stop: Callable[[], bool] = lambda: False) -> None:
        """``stop``: asked between entries; once it says yes, nothing new is begun."""
        self._agent = agent
        self._stop = stop
        settings = agent.settings
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._schedule = RetrySchedule(
            settings.retry_first, settings.retry_longest, settings.give_up_after
        )

    def run_pass(self) -> PassReport:
        """Tells everybody who is due, once; what could not be told waits for its next time.

        Raises DatabaseUnavailable or StorageFull; what was under way is then tried again later.
        """
        work = _Pass(self._agent, self._owner, self._schedule, self._stop)
        return work.run()


class _Pass:
    """The state of one pass."""

    def __init__(
        self, agent: Agent, owner: str, schedule: RetrySchedule, stop: Callable[[], bool]
    ) -> None:
        self._agent = agent
        self._owner = owner
        self._schedule = schedule
        self._ends = agent.monotonic() + agent.settings.pass_limit
        self._stop = stop
        self._begun_at = agent.clock()
        self._waiting: dict[str, deque[tuple[Claim, float]]] = {}
        self._exhausted: set[str] = set()
        self._unreachable: set[str] = set()
        self._under_way: dict[Future[_Tried], str] = {}
        self._outcomes: list[Outcome] = []
        self._recorded_at = agent.monotonic()
        self._report = PassReport()

    def run(self) -> PassReport:
        settings = self._agent.settings
        with ThreadPoolExecutor(settings.concurrency, "xhmtp-notify") as pool:
            try:
                while True:
                    if not self._over():
                        self._begin(pool)
                    if not self._under_way:
                        break
                    self._gather()
            finally:
                self._give_back(list(self._waiting))
                for future in self._under_way:
                    future.cancel()
        self._record()
        return self._report

    def _over(self) -> bool:
        return self._stop() or self._agent.monotonic() >= self._ends

    def _begin(self, pool: ThreadPoolExecutor) -> None:
        """Starts as many tries as there is room for, turn by turn between the domains."""
        settings = self._agent.settings
        self._refill()
        busy = list(self._under_way.values())
        progress = True
        while progress and len(busy) < settings.concurrency:
            progress = False
            for domain, claims in self._waiting.items():
                room = busy.count(domain) < settings.concurrency_per_destination
                if not claims or not room or len(busy) >= settings.concurrency:
                    continue
                claim, until = claims.popleft()
                if self._agent.monotonic() > until:
                    # Its lease may end before the try would: somebody else's turn.
                    continue
                self._under_way[pool.submit(self._try, claim)] = domain
                busy.append(domain)
                progress = True

    def _refill(self) -> None:
        """Claims more where what was claimed has run out."""
        settings = self._agent.settings
        if sum(map(len, self._waiting.values())) >= 2 * settings.concurrency:
            return
        due = queue.due_domains(self._agent.database, self._begun_at)
        for domain in due:
            if domain in self._unreachable or self._waiting.get(domain):
                continue
            safe = self._agent.monotonic() + settings.lease - settings.try_deadline
            claims = queue.claim(
                self._agent.database,
                domain,
                CLAIMED_AT_ONCE,
                owner=self._owner,
                now=self._agent.clock(),
                lease=settings.lease,
                schedule=self._schedule,
            )
            self._waiting[domain] = deque((claim, safe) for claim in claims)

    def _gather(self) -> None:
        """Waits for a try to end, and takes in what has ended."""
        done, _ = wait(self._under_way, timeout=LONGEST_UNRECORDED, return_when=FIRST_COMPLETED)
        for future in done:
            domain = self._under_way.pop(future)
            tried = future.result()
            self._outcomes.append(tried.outcome)
            if tried.unreachable:
                self._unreachable.add(domain)
                self._give_back([domain])
        late = self._agent.monotonic() - self._recorded_at >= LONGEST_UNRECORDED
        if len(self._outcomes) >= RECORDED_AT_ONCE or late:
            self._record()

    def _give_back(self, domains: Iterable[str]) -> None:
        for domain in domains:
            claims = [claim for claim, _ in self._waiting.pop(domain, ())]
            queue.release(self._agent.database, claims, self._agent.clock())

    def _record(self) -> None:
        if self._outcomes:
            queue.record(self._agent.database, self._outcomes, self._agent.clock())
            self._report = self._report.plus(self._outcomes)
            self._outcomes = []
        self._recorded_at = self._agent.monotonic()

    def _try(self, claim: Claim) -> _Tried:
        """One try, from the look-up to the answer; never raises."""
        try:
            answer, target = self._notify(claim)
        except (NoService, BadDomain, AddressRefused) as error:
            return _Tried(self._outcome(claim, Verdict.REFUSED, None, str(error)), False)
        except Transient as error:
            outcome = self._outcome(claim, Verdict.LATER, None, str(error))
            return _Tried(outcome, isinstance(error, ConnectionFailed))
        except Exception:
            # A fault of ours: it must not stop the entries behind this one.
            logger.exception("a try of %s for %s failed", claim.message, claim.recipient)
            return _Tried(self._outcome(claim, Verdict.LATER, None, "an internal error"), False)
        now = self._agent.clock()
        words = f"{target.host} answered {answer.status}{_words(answer)}"
        meaning = verdict(answer.status, now - claim.queued_at)
        outcome = self._outcome(claim, meaning, answer.status, words)
        asked = retry_after(answer.headers.get("retry-after"), now)
        if outcome.next_try_at is not None and asked is not None:
            outcome = replace(outcome, next_try_at=now + asked)
        return _Tried(outcome, meaning is Verdict.LATER and answer.status in (429, 503))

    def _notify(self, claim: Claim) -> tuple[HTTPAnswer, AgentTarget]:
        """POSTs the notification to the first of the domain's agents that answers."""
        domain = claim.recipient.domain
        discovery = self._agent.discovery
        targets = discovery.agents(domain)[:MAX_TARGETS_TRIED]
        path = inbox_path(discovery.prefix(domain), claim.recipient)
        host, body = self._form(claim)
        failure: XHMTPError | None = None
        for target in targets:
            try:
                answer = self._agent.network.post(
                    target,
                    path,
                    body,
                    {"Content-Type": "application/x-www-form-urlencoded"},
                    source_host=host,
                )
            except ConnectionFailed as error:
                logger.info("%s of %s does not answer: %s", target.host, domain, error)
                failure = error
            else:
                logger.info(
                    "notified %s of %s at %s: %s",
                    claim.recipient,
                    claim.message,
                    target.host,
                    answer.status,
                )
                return answer, target
        assert failure is not None  # noqa: S101 - agents() returns at least one target
        raise failure

    def _form(self, claim: Claim) -> tuple[str, bytes]:
        """The body of the notification, and the host that our message URL names."""
        letter = queue.letter(self._agent.database, claim.message)
        domain = letter.sender.domain
        try:
            url = self._agent.url_of(domain)
            prefix = self._agent.prefixes.of(domain)
        except Permanent as error:
            # Our own records are in error: no fault of the recipient, and it can be mended.
            raise DNSUnavailable(
                f"where {domain} itself is reached is not known: {error}"
            ) from error
        message_url = MessageURL(
            scheme=url.scheme,
            host=url.host,
            port=url.port,
            recipient=claim.recipient,
            code=claim.code,
            path=message_path(prefix, letter.sender, claim.message),
        )
        header = header_block_for(
            scan(letter.header.removesuffix(b"\r\n"), len(letter.header)),
            size=letter.size,
            digest=letter.digest,
            expires=datetime.fromtimestamp(letter.expires_at, UTC),
            recipient=claim.recipient,
        )
        return url.host, encode(message_url, header)

    def _outcome(self, claim: Claim, meaning: Verdict, status: int | None, words: str) -> Outcome:
        now = self._agent.clock()
        state, next_try_at = State.DEFERRED, now + self._schedule.wait(claim.tries)
        if meaning is Verdict.DONE:
            return Outcome(claim, State.NOTIFIED, status, words, None)
        if meaning is Verdict.REFUSED:
            return Outcome(claim, State.REFUSED, status, words, None)
        if now - claim.queued_at >= self._schedule.give_up_after:
            return Outcome(claim, State.EXPIRED, status, words, None)
        return Outcome(claim, state, status, words, next_try_at)


def _words(answer: HTTPAnswer) -> str:
    """What the other side said of it, as one printable line."""
    if answer.status < 300 or not answer.body:
        return ""
    said = display(answer.body.decode("utf-8", "replace"))[:ANSWER_KEPT]
    return f": {said}" if said else ""
