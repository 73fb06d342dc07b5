"""Why a message cannot be shown just now, in plain words, and what can be done about it."""

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from xhmtp_wsgi.errors import (
    AddressRefused,
    DeadlineExceeded,
    DNSUnavailable,
    Forbidden,
    Gone,
    MalformedMessage,
    MalformedSeal,
    NotFound,
    NotSealedToThese,
    SealBroken,
    TLSFailed,
    TooLarge,
    TooMany,
    XHMTPError,
)
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.web import words

SEAL_TROUBLES = (NotSealedToThese, SealBroken, MalformedSeal, MalformedMessage)
"""What can be wrong with a sealed message that was fetched."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """``can_pass``: to try again later may help; ``detail``: for who wants to know more."""

    title: str
    text: str
    can_pass: bool
    detail: str = ""


def trouble_of(error: XHMTPError, notice: Notice, now: float) -> Trouble:
    """What to tell of an error that reading a message ended with. ``now``: of the epoch."""
    host = MessageURL.parse(notice.url).host
    match error:
        case Gone():
            return _gone(notice, now)
        case TooLarge():
            size = "" if notice.size is None else f" ({words.size(notice.size)})"
            return Trouble(
                "It is too large to be shown here",
                f"The message{size} is larger than the {words.size(error.limit)} that are read "
                "here. You can get it from its sender's server yourself.",
                can_pass=False,
            )
        case TooMany():
            return Trouble(
                "This site is busy",
                "Other messages are being fetched just now. Try again in a few seconds.",
                can_pass=True,
            )
        case NotSealedToThese():
            return Trouble(
                "None of the keys that are held here opens it",
                "It is sealed to another key. If that is one of yours, open the sealed file with "
                "it yourself.",
                can_pass=False,
            )
        case SealBroken():
            return Trouble(
                "It was changed, or cut, since it was sealed",
                "Its seal is broken. So nothing of it is shown, not even what would be left.",
                can_pass=True,
                detail=str(error),
            )
        case MalformedSeal():
            return Trouble(
                "It is no sealed message, though it was announced as one",
                f"What {host} has sent is not of the form that sealed messages have. So nothing of "
                "it is shown.",
                can_pass=True,
                detail=str(error),
            )
        case MalformedMessage():
            return Trouble(
                "What was sealed is no message",
                "It could be opened, and is something else than a message. Open the sealed file "
                "yourself to see what it is.",
                can_pass=False,
            )
        case Forbidden():
            return Trouble(
                "It is not the message that was announced",
                f"What {host} has sent was changed since it told you of the message, on its way or "
                "there. So it is not shown.",
                can_pass=True,
            )
        case NotFound():
            return Trouble(
                "Its sender's server does not have it",
                f"{host} was asked for the message, and does not know it, or not for you.",
                can_pass=True,
                detail=str(error),
            )
        case AddressRefused():
            return Trouble(
                "Its sender's server is not one to connect to",
                f"{host} leads to an address that this site does not connect to, as it is none of "
                "the public internet.",
                can_pass=True,
            )
    return _unreachable(error, host)


def _gone(notice: Notice, now: float) -> Trouble:
    expires = _expiry(notice)
    if expires is not None and expires <= now:
        return Trouble(
            "Its sender's server no longer keeps it",
            "It was kept there for the time that its sender had set, which is over. No copy was "
            "kept here.",
            can_pass=False,
        )
    return Trouble(
        "Its sender has withdrawn it",
        "The message was taken back after you were told of it. No copy was kept here.",
        can_pass=False,
    )


def _unreachable(error: XHMTPError, host: str) -> Trouble:
    text = f"{host}, which has the message, does not answer."
    if isinstance(error, DeadlineExceeded):
        text = f"{host}, which has the message, is too slow just now."
    elif isinstance(error, TLSFailed):
        text = f"{host} could not prove that it is the server of that name, so it was not asked."
    elif isinstance(error, DNSUnavailable):
        text = f"It could not be found out where {host}, which has the message, is reached."
    return Trouble(
        "Its sender's server is not reached",
        f"{text} No copy was kept here. The message waits there: try again later.",
        can_pass=True,
        detail=str(error),
    )


def _expiry(notice: Notice) -> float | None:
    """Until when its sender's agent has said that it keeps the message."""
    try:
        return parsedate_to_datetime(fields_of(notice).get("expires", "")).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
