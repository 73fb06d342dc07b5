"""Judging: what a try of a notification has come to (protocol, section 5), and what it tells of the
destination as a whole.

Security: the other side's words are cut and made printable before they are kept. No text that is
kept or logged has an access code in it.
"""

import logging
import traceback
from dataclasses import dataclass, replace
from enum import Enum

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import (
    AddressRefused,
    BadDomain,
    ConnectionFailed,
    DNSUnavailable,
    NoService,
    OwnDomainInError,
    Transient,
)
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.sender.failure_notice import Kind
from xhmtp_wsgi.sender.queue import Claim, Outcome
from xhmtp_wsgi.sender.retry import FEWEST_TRIES, RetrySchedule, Verdict, retry_after, verdict

logger = logging.getLogger(__name__)

ANSWER_KEPT = 200  # characters of the other side's words
TRACEBACK_KEPT = 4000  # characters
INTERNAL_FAILURES = 5  # after so many an entry is set aside for the operator
OVERLOADED = (429, 503)
UNAVAILABLE = (502, 503, 504)
"""What one of a domain's agents answers when another may do better."""


class Effect(Enum):
    """What a try tells of the destination as a whole."""

    REACHED = "it answers"
    FAILED = "it answers, but not as it should"
    UNREACHABLE = "it does not answer, or wants no more just now"
    NOTHING = "it was not asked"


@dataclass(frozen=True, slots=True)
class Tried:
    """How a try ended. ``seconds``: how long it took; ``wait``: what its Retry-After asks for."""

    outcome: Outcome
    effect: Effect
    seconds: float = 0.0
    wait: float | None = None
    own_fault: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and who gave it. ``unvouched``: the host, if the DNS alone vouches for it."""

    answer: HTTPAnswer
    host: str
    moved_to: Endpoint | None = None
    note: str = ""
    unvouched: str | None = None


class Judge:
    """Judges the tries of one pass; safe to be used by several threads."""

    def __init__(self, agent: Agent, schedule: RetrySchedule, delay_report_after: float) -> None:
        self._clock = agent.clock
        self._schedule = schedule
        self._delay_report_after = delay_report_after

    def failed(self, claim: Claim, error: Exception) -> Tried:
        """What it means that a try ended with this error."""
        if isinstance(error, OwnDomainInError):
            later = self._outcome(claim, Verdict.LATER, None, str(error))
            return Tried(later, Effect.NOTHING, own_fault=str(error))
        if isinstance(error, NoService | BadDomain | AddressRefused):
            return Tried(self._outcome(claim, Verdict.REFUSED, None, str(error)), Effect.NOTHING)
        if isinstance(error, ConnectionFailed | DNSUnavailable):
            later = self._outcome(claim, Verdict.LATER, None, str(error))
            return Tried(later, Effect.UNREACHABLE)
        if isinstance(error, Transient):
            # Our own database, for one.
            return Tried(self._outcome(claim, Verdict.LATER, None, str(error)), Effect.NOTHING)
        # A fault of ours must not stop the entries behind this one.
        logger.error("a try of %s for %s failed", claim.message, claim.recipient, exc_info=error)
        return Tried(self._internal(claim, error), Effect.NOTHING)

    def judged(self, claim: Claim, answered: Answered) -> Tried:
        """What the other side's answer means."""
        now = self._clock()
        answer = answered.answer
        unverified = claim.unverified_since if claim.unverified_since is not None else now
        meaning = verdict(answer.status, now - unverified)
        words = f"{answered.host} answered {answer.status}{answered.note or _words(answer)}"
        if 300 <= answer.status < 400:
            words += "; that agent is set up wrongly"
        outcome = self._outcome(claim, meaning, answer.status, words)
        if answered.unvouched is not None and meaning is Verdict.DONE:
            outcome = replace(outcome, unvouched=answered.unvouched)
        if answer.status == 401:
            outcome = replace(outcome, unverified_since=unverified)
        if answered.moved_to is not None and answered.moved_to != claim.recipient:
            outcome = replace(outcome, moved_to=str(answered.moved_to))
            if outcome.state is State.NOTIFIED:
                outcome = replace(outcome, report=Kind.MOVED)
        wait = retry_after(answer.headers.get("retry-after"), now)
        if outcome.next_try_at is not None and wait is not None:
            outcome = replace(outcome, next_try_at=now + wait)
        if meaning is not Verdict.LATER:
            return Tried(outcome, Effect.REACHED)
        effect = Effect.UNREACHABLE if answer.status in OVERLOADED else Effect.FAILED
        return Tried(outcome, effect, wait=wait)

    def _outcome(self, claim: Claim, meaning: Verdict, status: int | None, words: str) -> Outcome:
        now = self._clock()
        age = now - claim.queued_at
        if meaning is Verdict.DONE:
            return Outcome(claim, State.NOTIFIED, status, words, None)
        if meaning is Verdict.REFUSED:
            return Outcome(claim, State.REFUSED, status, words, None, report=Kind.FAILED)
        if age >= self._schedule.give_up_after and claim.tries >= FEWEST_TRIES:
            return Outcome(claim, State.EXPIRED, status, words, None, report=Kind.FAILED)
        late = age >= self._delay_report_after and not claim.delay_told
        next_try_at = now + self._schedule.wait(claim.tries)
        report = Kind.DELAYED if late else None
        return Outcome(claim, State.DEFERRED, status, words, next_try_at, report=report)

    def _internal(self, claim: Claim, error: Exception) -> Outcome:
        """A fault of ours; the fifth sets the entry aside until its time is over."""
        text = "".join(traceback.format_exception(error)).replace(claim.code, "CODE")
        outcome = replace(
            self._outcome(claim, Verdict.LATER, None, "an internal error of the sender's agent"),
            traceback=text[-TRACEBACK_KEPT:],
        )
        set_aside = claim.internal_failures + 1 >= INTERNAL_FAILURES
        if set_aside and outcome.next_try_at is not None:
            over = claim.queued_at + self._schedule.give_up_after
            outcome = replace(outcome, next_try_at=max(over, outcome.next_try_at))
        return outcome


def _words(answer: HTTPAnswer) -> str:
    """What the other side said of it, as one printable line."""
    if answer.status < 300 or not answer.body:
        return ""
    said = display(answer.body.decode("utf-8", "replace"))[:ANSWER_KEPT]
    return f": {said}" if said else ""
