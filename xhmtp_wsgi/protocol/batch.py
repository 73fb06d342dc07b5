"""A batch: many notifications for one domain in one request (docs/protocol.md, section 5).

The form of a single one, its fields repeated: ``headers`` holds for each ``url`` after it, up to
the next ``headers``. The answer is JSON with an answer for each ``url``, in their order. A receiver
announces that it takes batches, and how large ones, with each answer to a single notification.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from xhmtp_wsgi.errors import (
    Malformed,
    MalformedMessageURL,
    MalformedNotification,
    TooLarge,
    TooManyNotifications,
    XHMTPError,
)
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.notification import MAX_FORM_FIELDS, Notification, form_fields

ANNOUNCED_IN = "XHMTP-Batch"
OCTETS = 1 << 20
"""Of the body of a batch, where the announcement does not say."""
MAX_FIELD = 200  # characters of an announcement


@dataclass(frozen=True, slots=True)
class Announcement:
    """How large the batches are that an agent takes."""

    notifications: int
    octets: int = OCTETS

    def __str__(self) -> str:
        return f"{self.notifications};octets={self.octets}"

    @classmethod
    def parse(cls, value: str | None) -> "Announcement | None":
        """What a field says (RFC 9651, an Item); None where it says nothing that is understood."""
        if value is None or len(value) > MAX_FIELD:
            return None
        import http_sf

        try:
            parsed: Any = http_sf.parse(value.encode("ascii"), tltype="item")
            notifications, parameters = parsed
            octets = parameters.get("octets", OCTETS)
        except Exception:
            # Whatever a parser raises for what strangers wrote: they announce nothing then.
            return None
        if not (_is_integer(notifications, 1, 10**9) and _is_integer(octets, 1, 10**12)):
            return None
        return cls(notifications, octets)


def _is_integer(value: object, least: int, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one of a batch: what it would have been answered alone.

    ``retry_after``: seconds; ``location``: of a 308.
    """

    status: int
    detail: str = ""
    location: str | None = None
    retry_after: int | None = None

    def as_json(self) -> dict[str, object]:
        """Its members, without those that say nothing."""
        told: dict[str, object] = {"status": self.status}
        if self.detail:
            told["detail"] = self.detail
        if self.location is not None:
            told["location"] = self.location
        if self.retry_after is not None:
            told["retry-after"] = self.retry_after
        return told


def parse_batch(
    body: bytes, *, domain: str, header_limit: int, most: int
) -> list[Notification | XHMTPError]:
    """The notifications in a form's octets, in their order, or what is wrong with each.

    Raises MalformedNotification for what is no batch at all: no ``url`` in it, several agents that
    have the messages, or several domains in From, as what is checked of a batch is checked once;
    and TooManyNotifications for more than ``most``.
    """
    pairs = form_fields(body, 2 * most + MAX_FORM_FIELDS)
    urls = sum(name == "url" for name, _ in pairs)
    if urls > most:
        raise TooManyNotifications(urls, most)
    if not urls:
        raise MalformedNotification("there is no url in the batch")
    found = list(_parsed(pairs, domain, header_limit))
    told = [one for one in found if isinstance(one, Notification)]
    if len({(one.url.scheme, one.url.host, one.url.effective_port) for one in told}) > 1:
        raise MalformedNotification("the messages of a batch are all at one agent")
    if len({one.author and one.author.domain for one in told}) > 1:
        raise MalformedNotification("the authors of a batch are all of one domain")
    return found


def _parsed(
    pairs: Sequence[tuple[str, str]], domain: str, header_limit: int
) -> Iterator[Notification | XHMTPError]:
    headers: str | None = None
    told: Notification | XHMTPError | None = None
    for name, value in pairs:
        if name == "headers":
            headers, told = value, None
        elif name == "url":
            if headers is None:
                raise MalformedNotification("a url stands before the first headers of the batch")
            try:
                url = MessageURL.parse(value)
            except MalformedMessageURL as error:
                yield error
                continue
            if url.recipient.domain != domain:
                yield MalformedNotification(f"the message URL names a recipient not at {domain}")
                continue
            if told is None:
                told = _told(url, headers, header_limit)
            yield replace(told, url=url) if isinstance(told, Notification) else told


def _told(url: MessageURL, headers: str, header_limit: int) -> Notification | XHMTPError:
    try:
        return Notification.of(url, headers, header_limit)
    except (Malformed, TooLarge) as error:
        return error


def answers_as_json(answers: Sequence[Answer]) -> Mapping[str, object]:
    """The body of the answer to a batch, to be written as JSON."""
    return {"answers": [one.as_json() for one in answers]}


def parse_answers(body: bytes, expected: int) -> list[Answer] | None:
    """The answers to so many notifications; None where the other side's body is not that."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    given = told.get("answers") if isinstance(told, dict) else None
    if not isinstance(given, list) or len(given) != expected:
        return None
    answers = [_answer(one) for one in given]
    return [one for one in answers if one is not None] if None not in answers else None


def _answer(given: object) -> Answer | None:
    if not isinstance(given, dict):
        return None
    status, wait = given.get("status"), given.get("retry-after")
    detail, location = given.get("detail", ""), given.get("location")
    if not _is_integer(status, 100, 599):
        return None
    return Answer(
        status,
        detail if isinstance(detail, str) else "",
        location if isinstance(location, str) else None,
        wait if _is_integer(wait, 0, 10**9) else None,
    )
