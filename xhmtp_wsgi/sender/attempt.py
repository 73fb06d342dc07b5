"""One try of a notification: look-up, POST, and where the answer leads (protocol, section 5).

Never raises: whatever happens is an outcome. Several for a domain that takes batches go together
(sender/batch_attempt.py).
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import (
    BadDomain,
)
from xhmtp_wsgi.protocol.batch import ANNOUNCED_IN
from xhmtp_wsgi.routes import inbox_path
from xhmtp_wsgi.sender import queue
from xhmtp_wsgi.sender.announcements import Announcements
from xhmtp_wsgi.sender.batch_attempt import BatchAttempts
from xhmtp_wsgi.sender.judging import Answered, Judge, Tried
from xhmtp_wsgi.sender.letters import Letter, Letters
from xhmtp_wsgi.sender.moved import MAX_MOVES, Place, moved_place
from xhmtp_wsgi.sender.posting import Poster
from xhmtp_wsgi.sender.queue import Claim
from xhmtp_wsgi.sender.retry import RetrySchedule
from xhmtp_wsgi.sender.ways import Ways

logger = logging.getLogger(__name__)

TAKEN = (200, 201, 202)


class Attempts:
    """Makes the tries of one pass; safe to be used by several threads."""

    def __init__(
        self,
        agent: Agent,
        schedule: RetrySchedule,
        delay_report_after: float,
        announcements: Announcements,
    ) -> None:
        self._agent = agent
        self._judge = Judge(agent, schedule, delay_report_after)
        self._letters = Letters(agent.database)
        self._ways = Ways(agent)
        self._poster = Poster(agent, self._ways)
        self._announcements = announcements
        self._batches = BatchAttempts(
            agent, self._judge, self._letters, self._ways, self._poster, announcements
        )

    def prepare(self, claims: Iterable[Claim]) -> None:
        """Gets ready what these will be told, all at once."""
        self._letters.prepare(claims)

    def make(self, claims: Sequence[Claim]) -> tuple[Tried, ...]:
        """Tries to tell these, all of one domain; those that the result leaves out were not tried.

        One alone is always tried.
        """
        begun = self._agent.monotonic()
        end = begun + self._agent.settings.try_deadline
        if len(claims) == 1:
            tries: Sequence[Tried] = [self._make(claims[0], end)]
        else:
            tries = self._batches.make(claims, end)
        # What went together has taken its time together.
        seconds = (self._agent.monotonic() - begun) / max(1, len(tries))
        return tuple(replace(tried, seconds=seconds) for tried in tries)

    def _make(self, claim: Claim, end: float) -> Tried:
        try:
            return self._judge.judged(claim, self._notify(claim, end))
        except Exception as error:
            return self._judge.failed(claim, error)

    def _notify(self, claim: Claim, end: float) -> Answered:
        """POSTs to the first of the domain's agents that answers, and where that leads."""
        domain = claim.recipient.domain
        letter = self._letters.of(claim)
        way = self._ways.to(domain)
        path = inbox_path(way.prefix, claim.recipient)
        return self._poster.ask_in_turn(
            domain,
            way.targets,
            letter,
            lambda target: self._followed(claim, letter, Place(target, path, claim.recipient), end),
        )

    def _followed(self, claim: Claim, letter: Letter, place: Place, end: float) -> Answered:
        """The answer there, or where 308 leads, at most MAX_MOVES times."""
        first = place
        for _ in range(MAX_MOVES + 1):
            body = letter.form(self._poster.url_of(claim, letter, place.recipient))
            answer = self._poster.post(place.target, place.path, body, letter, end)
            host = place.target.host
            logger.info(
                "told %s of %s at %s: %s", claim.recipient, claim.message, host, answer.status
            )
            if place is first and answer.status in TAKEN:
                self._announcements.hear(
                    claim.recipient.domain, answer.headers.get(ANNOUNCED_IN.lower())
                )
            try:
                next_place = moved_place(place, answer)
            except BadDomain as error:
                return Answered(answer, host, note=f": {error}")
            if next_place is None:
                return Answered(answer, host, place.recipient)
            self._poster.require_tls(next_place.recipient.domain, next_place.target)
            if next_place.recipient not in (claim.recipient, place.recipient):
                queue.note_move(self._agent.database, claim, next_place.recipient)
            place = next_place
        return Answered(answer, host, note=f": the inbox has moved more than {MAX_MOVES} times")
