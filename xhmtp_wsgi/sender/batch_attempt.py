"""Tries of many notifications for one domain at once, where it takes batches (protocol, section 5).

What cannot be settled together is left out, and then tried alone: a batch that was not taken as
one, and an inbox that has moved.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote_plus

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.errors import (
    ConnectionFailed,
    NotConnected,
)
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.batch import Announcement, Answer, parse_answers
from xhmtp_wsgi.routes import domain_path
from xhmtp_wsgi.sender.announcements import MOST_AT_ONCE, Announcements
from xhmtp_wsgi.sender.judging import Answered, Judge, Tried
from xhmtp_wsgi.sender.letters import Letter, Letters
from xhmtp_wsgi.sender.posting import Poster
from xhmtp_wsgi.sender.queue import Claim
from xhmtp_wsgi.sender.ways import Ways

logger = logging.getLogger(__name__)

MOVED = 308
NOT_NOW = (408, 425, 429, 503)
"""What an agent may answer to a batch as a whole, and what is then true of each."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of the queue, and what its recipient is to be told."""

    claim: Claim
    letter: Letter


class BatchAttempts:
    """Makes such tries of one pass; safe to be used by several threads."""

    def __init__(
        self,
        agent: Agent,
        judge: Judge,
        letters: Letters,
        ways: Ways,
        poster: Poster,
        announcements: Announcements,
    ) -> None:
        self._agent = agent
        self._judge = judge
        self._letters = letters
        self._ways = ways
        self._poster = poster
        self._announcements = announcements

    def make(self, claims: Sequence[Claim], end: float) -> list[Tried]:
        """How those ended that were tried, until ``end`` by the agent's monotonic clock."""
        tries: list[Tried] = []
        # The domain of the authors signs, and what is anonymous is not signed; for what is sealed
        # an agent may do that is not believed otherwise.
        groups: defaultdict[tuple[str, bool, bool], list[_Entry]] = defaultdict(list)
        letters = self._letters.found(claims)
        for claim in claims:
            try:
                letter = letters.get((claim.message, claim.representation))
                if letter is None:
                    letter = self._letters.of(claim)
            except Exception as error:
                tries.append(self._judge.failed(claim, error))
                continue
            key = letter.sender.domain, letter.is_anonymous, letter.is_sealed
            groups[key].append(_Entry(claim, letter))
        for entries in groups.values():
            announced = self._announcements.of(entries[0].claim.recipient.domain)
            if announced is not None and self._agent.monotonic() < end:
                tries += self._told(entries, announced, end)
        return tries

    def _told(
        self, entries: Sequence[_Entry], announced: Announcement, end: float
    ) -> Sequence[Tried]:
        """Tells as many of these as fit into one batch."""
        told = entries
        try:
            told, body = self._batch(entries, announced)
            return self._posted(told, body, end) if told else ()
        except Exception as error:
            return [self._judge.failed(entry.claim, error) for entry in told]

    def _batch(
        self, entries: Sequence[_Entry], announced: Announcement
    ) -> tuple[Sequence[_Entry], bytes]:
        """The body that tells of the first of these, and of which: of at least two, or of none."""
        most = min(announced.notifications, MOST_AT_ONCE)
        parts: list[str] = []
        size, headers = 0, ""
        for entry in entries[:most]:
            recipient = entry.claim.recipient
            url = self._poster.url_of(entry.claim, entry.letter, recipient).with_credentials()
            own_headers = entry.letter.headers_for(recipient)
            part = f"url={quote_plus(url)}"
            if own_headers != headers:
                part = f"headers={own_headers}&{part}"
            size += len(part) + 1
            if size > announced.octets:
                break
            headers = own_headers
            parts.append(part)
        return (entries[: len(parts)], "&".join(parts).encode()) if len(parts) > 1 else ((), b"")

    def _posted(self, told: Sequence[_Entry], body: bytes, end: float) -> Sequence[Tried]:
        """POSTs to the first of the domain's agents that answers."""
        domain, letter = told[0].claim.recipient.domain, told[0].letter
        way = self._ways.to(domain)
        path = domain_path(way.prefix, domain)

        def ask(target: AgentTarget) -> Answered:
            try:
                answer = self._poster.post(target, path, body, letter, end)
            except NotConnected:
                raise
            except ConnectionFailed:
                # It may be one of them that it fails for.
                self._announcements.disbelieve(domain)
                raise
            return Answered(answer, target.host)

        return self._judged(told, self._poster.ask_in_turn(domain, way.targets, letter, ask))

    def _judged(self, told: Sequence[_Entry], answered: Answered) -> list[Tried]:
        """What the answer to a batch means for each; nothing for those that go alone now."""
        domain, answer = told[0].claim.recipient.domain, answered.answer
        logger.info("told %d of %s at %s: %s", len(told), domain, answered.host, answer.status)
        answers = parse_answers(answer.body, len(told)) if answer.status == 200 else None
        if answers is not None:
            return [
                self._judge.judged(entry.claim, replace(answered, answer=_as_if_alone(one)))
                for entry, one in zip(told, answers, strict=True)
                if one.status != MOVED
            ]
        if answer.status in NOT_NOW:
            return [self._judge.judged(entry.claim, answered) for entry in told]
        # Perhaps one of them is at fault: the others shall not wait for it.
        self._announcements.disbelieve(domain)
        return []


def _as_if_alone(answer: Answer) -> HTTPAnswer:
    """One answer of a batch, as it would have come to a single notification."""
    headers = {}
    if answer.retry_after is not None:
        headers["retry-after"] = str(answer.retry_after)
    return HTTPAnswer(answer.status, headers, answer.detail.encode("utf-8", "replace"))
