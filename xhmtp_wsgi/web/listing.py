"""Messages as a list shows them: who, what, when, and what is known of who sent it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xhmtp_wsgi.errors import XHMTPError
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.header_values import addresses, display
from xhmtp_wsgi.protocol.sealed_message import TITLE
from xhmtp_wsgi.recipient.authorship import AGENT, SIGNATURE
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.recipient.origin import ORIGIN
from xhmtp_wsgi.recipient.sealed_extracts import Inside
from xhmtp_wsgi.recipient.unsealing import is_sealed_notice
from xhmtp_wsgi.recipient.verdict import PASS
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.outbox import StoredMessage
from xhmtp_wsgi.web.sealed_reading import insides
from xhmtp_wsgi.web.visit import Visit

MOST_NAMED = 5  # recipients in a line
NO_SUBJECT = "(no subject)"
SEALED_SUBJECT = TITLE
"""What stands for a subject that is sealed."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of who sent something, in words; ``good``: it is as it says."""

    words: str
    good: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A message in a list. Strangers wrote ``person``, ``address`` and ``subject``.

    ``person``: a name, or an address where there is none; ``address``: of whom the name is;
    ``sealed``: what it says is sealed.
    """

    identifier: str
    url: str
    person: str
    address: str
    subject: str
    at: float
    size: int | None
    fresh: bool = False
    starred: bool = False
    place: str = ""
    known: Known | None = None
    sealed: bool = False


def no_place(_: Notice) -> str:
    """For lists of one folder."""
    return ""


def received(
    visit: Visit, notices: Sequence[Notice], place: Callable[[Notice], str] = no_place
) -> list[Line]:
    """What came, in this order. ``place``: where each is, if the list is not of one folder."""
    inside = insides(visit, notices)
    return [
        _received(visit, notice, place(notice), inside.get(notice.identifier)) for notice in notices
    ]


def _received(visit: Visit, notice: Notice, place: str, inside: Inside | None) -> Line:
    """``inside``: what a sealed one says, where that may be shown."""
    fields, sealed = fields_of(notice), is_sealed_notice(notice)
    from_field, subject = fields.get("from", ""), fields.get("subject", "").strip()
    if inside is not None:
        from_field, subject = inside.author or from_field, inside.subject
    person, address = _named(from_field, author_of(notice))
    return Line(
        identifier=notice.identifier,
        url=visit.url("message", notice.identifier),
        person=person,
        address=address,
        subject=subject or (SEALED_SUBJECT if sealed and inside is None else NO_SUBJECT),
        at=notice.received_at,
        size=notice.size,
        fresh=notice.seen_at is None,
        starred=notice.starred_at is not None,
        place=place,
        known=known(notice),
        sealed=sealed,
    )


def sent(visit: Visit, message: StoredMessage, *, place: str = "") -> Line:
    """What he has sent himself."""
    header = message.header.removesuffix(b"\r\n")
    found = scan(header, len(header)) if header else ()
    fields = {one.name.lower(): display(one.value) for one in found}
    sealed = message.sealed is not None
    to = ", ".join(value for name in ("to", "cc") if (value := fields.get(name, "").strip()))
    if sealed:
        to = recipients_of(visit, message)
    return Line(
        identifier=message.identifier,
        url=visit.url("sent", message.identifier),
        person=f"To: {to}" if to else "To: nobody who is named",
        address="",
        subject=fields.get("subject", "").strip() or (SEALED_SUBJECT if sealed else NO_SUBJECT),
        at=message.created_at,
        size=message.size,
        place=place,
        sealed=sealed,
    )


def recipients_of(visit: Visit, message: StoredMessage) -> str:
    """To whom something was sent, where its header does not tell: the first of them."""
    found = [one.recipient for one in outbox.statuses(visit.database, message.identifier)]
    more = f", and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more


def known(notice: Notice) -> Known:
    """Whether it comes from the domain that its author names, as far as the notification tells."""
    passed = {check.name for check in notice.checks if check.result == PASS}
    author = author_of(notice)
    if author is None:
        return Known("no author is named", good=False)
    if SIGNATURE in passed:
        return Known(f"signed by {author.domain}", good=True)
    if {AGENT, ORIGIN} <= passed:
        return Known(f"sent by the server of {author.domain}", good=True)
    return Known("not verified: anybody may have written this name", good=False)


def _named(text: str, author: Endpoint | None) -> tuple[str, str]:
    """The name in From, and the address: a name is whatever its writer likes, so both are shown."""
    if author is None:
        return text.strip() or "Anonymous", ""
    name, angle, _ = text.rpartition("<")
    name = name.strip().strip('"').strip()
    return (name, str(author)) if angle and name else (str(author), "")


def author_of(notice: Notice) -> Endpoint | None:
    """The address in From; None for an anonymous message, or one with none that can be read."""
    try:
        for field in scan(notice.headers, len(notice.headers)):
            if field.name.lower() == "from":
                return next(iter(addresses(field.value)), None)
    except XHMTPError:
        # It was read when it came in; should that change, nobody is taken for its author.
        return None
    return None
