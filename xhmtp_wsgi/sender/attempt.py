"""One try of a notification: look-up, POST, and what the answer means (protocol, section 5).

Never raises: whatever happens is an outcome, and says what it tells of the destination as a whole.

Security: the other side's words are cut and made printable before they are kept. No text that is
kept or logged has an access code in it.
"""

import logging
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.errors import (
    AddressRefused,
    BadDomain,
    ConnectionFailed,
    DeadlineExceeded,
    DNSUnavailable,
    NoService,
    OwnDomainInError,
    Permanent,
    Transient,
    Unvouched,
    XHMTPError,
)
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.request_signer import RequestSigner
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.routes import inbox_path, message_path
from xhmtp_wsgi.sender import queue
from xhmtp_wsgi.sender.failure_notice import Kind
from xhmtp_wsgi.sender.letters import Letter, Letters
from xhmtp_wsgi.sender.moved import MAX_MOVES, Place, moved_place
from xhmtp_wsgi.sender.queue import Claim, Outcome
from xhmtp_wsgi.sender.retry import FEWEST_TRIES, RetrySchedule, Verdict, retry_after, verdict
from xhmtp_wsgi.sender.target_trust import TargetTrust
from xhmtp_wsgi.sender.ways import Ways
from xhmtp_wsgi.signing_keys import Signer

logger = logging.getLogger(__name__)

FORM = "application/x-www-form-urlencoded"
ANSWER_KEPT = 200  # characters of the other side's words
TRACEBACK_KEPT = 4000  # characters
INTERNAL_FAILURES = 5  # after so many an entry is set aside for the operator
OVERLOADED = (429, 503)


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
class _Answered:
    answer: HTTPAnswer
    host: str
    moved_to: Endpoint | None = None
    note: str = ""
    unvouched: str | None = None


class Attempts:
    """Makes the tries of one pass; safe to be used by several threads."""

    def __init__(self, agent: Agent, schedule: RetrySchedule, delay_report_after: float) -> None:
        self._agent = agent
        self._schedule = schedule
        self._delay_report_after = delay_report_after
        self._letters = Letters(agent.database)
        self._ways = Ways(agent)
        self._signers: dict[Signer, RequestSigner] = {}
        self._trust = TargetTrust(
            agent.database, agent.network, agent.clock, agent.settings.tls_remembered_for
        )

    def prepare(self, claims: Iterable[Claim]) -> None:
        """Gets ready what these will be told, all at once."""
        self._letters.prepare(claims)

    def make(self, claim: Claim) -> Tried:
        """One try, from the look-up to the answer."""
        begun = self._agent.monotonic()
        tried = self._make(claim, begun + self._agent.settings.try_deadline)
        return replace(tried, seconds=self._agent.monotonic() - begun)

    def _make(self, claim: Claim, end: float) -> Tried:
        try:
            return self._judged(claim, self._notify(claim, end))
        except OwnDomainInError as error:
            later = self._outcome(claim, Verdict.LATER, None, str(error))
            return Tried(later, Effect.NOTHING, own_fault=str(error))
        except (NoService, BadDomain, AddressRefused) as error:
            return Tried(self._outcome(claim, Verdict.REFUSED, None, str(error)), Effect.NOTHING)
        except (ConnectionFailed, DNSUnavailable) as error:
            later = self._outcome(claim, Verdict.LATER, None, str(error))
            return Tried(later, Effect.UNREACHABLE)
        except Transient as error:
            # Our own database, for one.
            return Tried(self._outcome(claim, Verdict.LATER, None, str(error)), Effect.NOTHING)
        except Exception as error:
            # A fault of ours must not stop the entries behind this one.
            logger.exception("a try of %s for %s failed", claim.message, claim.recipient)
            return Tried(self._internal(claim, error), Effect.NOTHING)

    def _judged(self, claim: Claim, answered: _Answered) -> Tried:
        """What the other side's answer means."""
        now = self._agent.clock()
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

    def _notify(self, claim: Claim, end: float) -> _Answered:
        """POSTs to the first of the domain's agents that answers, and where that leads."""
        domain = claim.recipient.domain
        letter = self._letters.of(claim)
        way = self._ways.to(domain)
        path = inbox_path(way.prefix, claim.recipient)
        failure: XHMTPError | None = None
        for target in way.targets:
            place = Place(target, path, claim.recipient)
            try:
                unvouched = self._trusted(domain, target, letter)
                answered = self._followed(claim, letter, place, end)
                self._trust.note_tls(domain, target)
                return replace(answered, unvouched=unvouched)
            except (ConnectionFailed, DNSUnavailable, AddressRefused) as error:
                logger.info("%s of %s does not answer: %s", target.host, domain, error)
                # What may pass counts for more than what will not.
                if failure is None or isinstance(failure, Permanent):
                    failure = error
        assert failure is not None  # noqa: S101 - agents() returns at least one target
        raise failure

    def _trusted(self, domain: str, target: AgentTarget, letter: Letter) -> str | None:
        """None, or the host that the DNS alone vouches for. Raises Downgrade or Unvouched."""
        self._trust.require_tls(domain, target)
        if self._trust.is_vouched(domain, target):
            return None
        policy = self._agent.settings.domains[letter.sender.domain].unvouched
        if policy == "wait" or (policy == "sealed" and not letter.is_sealed):
            raise Unvouched(f"nothing but the DNS says that {target.host} acts for {domain}")
        return target.host

    def _followed(self, claim: Claim, letter: Letter, place: Place, end: float) -> _Answered:
        """The answer there, or where 308 leads, at most MAX_MOVES times."""
        for _ in range(MAX_MOVES + 1):
            answer = self._post(claim, letter, place, end)
            host = place.target.host
            logger.info(
                "told %s of %s at %s: %s", claim.recipient, claim.message, host, answer.status
            )
            try:
                next_place = moved_place(place, answer)
            except BadDomain as error:
                return _Answered(answer, host, note=f": {error}")
            if next_place is None:
                return _Answered(answer, host, place.recipient)
            self._trust.require_tls(next_place.recipient.domain, next_place.target)
            if next_place.recipient not in (claim.recipient, place.recipient):
                queue.note_move(self._agent.database, claim, next_place.recipient)
            place = next_place
        return _Answered(answer, host, note=f": the inbox has moved more than {MAX_MOVES} times")

    def _post(self, claim: Claim, letter: Letter, place: Place, end: float) -> HTTPAnswer:
        left = end - self._agent.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"{place.target.host} did not answer in time")
        own = self._ways.own(letter.sender.domain)
        body = letter.form(
            MessageURL(
                scheme=own.url.scheme,
                host=own.url.host,
                port=own.url.port,
                recipient=place.recipient,
                code=claim.code,
                path=message_path(own.prefix, letter.path_name, claim.message),
            )
        )
        headers = {"Content-Type": FORM}
        if not letter.is_anonymous:
            headers |= self._signature(letter.sender.domain, body)
        return self._agent.network.post(
            place.target, place.path, body, headers, source_host=own.url.host, within=left
        )

    def _signature(self, domain: str, body: bytes) -> dict[str, str]:
        """The header fields that sign it; none where the domain has no key that can."""
        key = self._agent.signing_keys.signer(domain)
        if key is None:
            return {}
        signer = self._signers.get(key)
        if signer is None:
            signer = self._signers[key] = RequestSigner(key.seed, key.name, FORM)
        return signer.sign(body, self._agent.clock())

    def _outcome(self, claim: Claim, meaning: Verdict, status: int | None, words: str) -> Outcome:
        now = self._agent.clock()
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
