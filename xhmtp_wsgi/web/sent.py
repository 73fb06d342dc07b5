"""``sent``: what was sent, how far it has come to each recipient, and how it is withdrawn."""

from collections.abc import Mapping

from webob import Response

from xhmtp_wsgi.errors import (
    Gone,
    Malformed,
    MalformedSeal,
    NotFound,
    NotSealedToThese,
    SealBroken,
    TooLarge,
)
from xhmtp_wsgi.protocol.composing import header_fields
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.recipient import held_keys, reading
from xhmtp_wsgi.recipient.unsealing import unsealed
from xhmtp_wsgi.secret_box import Locked
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.outbox import StoredMessage
from xhmtp_wsgi.sender.progress import NOBODY, progress_of
from xhmtp_wsgi.web import listing
from xhmtp_wsgi.web.answering import forward_octets
from xhmtp_wsgi.web.conversation import around
from xhmtp_wsgi.web.delivery_words import in_words, look_of, shown_recipient
from xhmtp_wsgi.web.doors import way_back
from xhmtp_wsgi.web.handing_out import handed_out, source, whole
from xhmtp_wsgi.web.page import Page
from xhmtp_wsgi.web.shown_message import heading_of, shown_message
from xhmtp_wsgi.web.trouble import SEAL_TROUBLES
from xhmtp_wsgi.web.unlocking import UNLOCK
from xhmtp_wsgi.web.visit import Visit

RECIPIENTS_ON_A_PAGE = 200


def shown(visit: Visit) -> Response:
    """``GET sent``, or ``sent/ID`` and what lies below it."""
    if len(visit.path) == 1:
        return _list(visit)
    message = _own(visit)
    if not visit.path[2:]:
        return _page(visit, message)
    try:
        return _below(visit, message)
    except SEAL_TROUBLES:
        # Its page tells in plain words what is wrong.
        return visit.redirect("sent", message.identifier)


def _below(visit: Visit, message: StoredMessage) -> Response:
    match visit.path[2:]:
        case ("part", number):
            return handed_out(_octets(visit, message), number)
        case ("source",):
            return source(_octets(visit, message))
        case ("whole",):
            return whole(_octets(visit, message), message.identifier)
        case ("withdraw",):
            return visit.page("withdraw.html", message=message, line=listing.sent(visit, message))
    raise NotFound("there is no such page")


def done(visit: Visit) -> Response:
    """``POST sent/ID/withdraw``, which the page there leads to; or ``sent/ID``, to pass it on."""
    if len(visit.path) == 1:
        raise Malformed("there is no such change")
    message = _own(visit)
    if visit.path[2:] == ("withdraw",):
        outbox.withdraw(visit.database, message.identifier, visit.agent.clock())
        return visit.redirect("sent", message.identifier, note="withdrawn")
    if visit.path[2:] == () and visit.form().text("do") == "forward":
        sealed = message.sealed is not None
        return forward_octets(visit, _octets(visit, message), sealed=sealed)
    raise Malformed("there is no such change")


PAGES: Mapping[str, Page] = {"sent": Page(get=shown, post=done)}


def _list(visit: Visit) -> Response:
    size = visit.agent.settings.page_size
    page = max(visit.number("page") or 1, 1)
    found = outbox.sent(
        visit.database, visit.owner.canonical, limit=size + 1, skip=size * (page - 1)
    )
    shown_messages = found[:size]
    progress = progress_of(visit.database, [one.identifier for one in shown_messages])
    rows = [
        {
            "line": listing.sent(visit, message),
            "state": in_words(progress.get(message.identifier, NOBODY)),
            "look": look_of(progress.get(message.identifier, NOBODY)),
            "withdrawn": message.withdrawn_at is not None,
        }
        for message in shown_messages
    ]
    return visit.page(
        "sent.html",
        rows=rows,
        page=page,
        newer=visit.url("sent", page=page - 1 if page > 2 else None) if page > 1 else "",
        older=visit.url("sent", page=page + 1) if len(found) > size else "",
    )


def _own(visit: Visit) -> StoredMessage:
    found = outbox.several(visit.database, visit.owner.canonical, [visit.path[1]])
    if not found:
        raise NotFound("there is no such message")
    return found[0]


def _octets(visit: Visit, message: StoredMessage) -> bytes:
    """The message, unsealed if it is sealed to a key of his too.

    Raises Gone, TooLarge for one that is not read into memory, Locked, or as ``unsealed`` does.
    """
    if message.withdrawn_at is not None:
        raise Gone("you have withdrawn this message")
    if message.expires_at <= visit.agent.clock():
        raise Gone("this message is no longer kept")
    if message.size > reading.MOST:
        raise TooLarge("the message", reading.MOST)
    pieces = outbox.octets(visit.database, message.identifier, 0, message.size)
    octets = b"".join(pieces)
    if message.sealed is None:
        return octets
    if not visit.is_unlocked:
        raise Locked("the message is sealed, and your keys are locked")
    return unsealed(octets, visit.identities)


def _page(visit: Visit, message: StoredMessage) -> Response:
    trouble, content, locked = "", None, False
    heading = heading_of(_told_fields(visit, message))
    try:
        octets = _octets(visit, message)
    except Locked:
        locked = True
    except NotSealedToThese:
        trouble = "it is sealed, and none of the keys that are held here opens it"
    except (Gone, TooLarge, SealBroken, MalformedSeal) as error:
        trouble = str(error)
    else:
        content = shown_message(octets, prefer_html=visit.query("as") != "text")
        if message.sealed is not None:
            heading = heading_of(header_fields(octets))
    statuses = outbox.statuses(visit.database, message.identifier)
    begin = max(visit.number("from") or 0, 0)
    recipients = [shown_recipient(one) for one in statuses[begin : begin + RECIPIENTS_ON_A_PAGE]]
    end = begin + RECIPIENTS_ON_A_PAGE
    conversation = around(visit, message.thread, message.identifier, message.created_at)
    progress = progress_of(visit.database, [message.identifier]).get(message.identifier, NOBODY)
    return visit.page(
        "sent_message.html",
        sent=message,
        heading=heading,
        no_subject=listing.SEALED_SUBJECT if message.sealed and not content else listing.NO_SUBJECT,
        message=content,
        locked=locked,
        is_held=locked and held_keys.has_any(visit.database, visit.owner),
        unlock_action=visit.url(UNLOCK) + way_back(("sent", message.identifier)),
        trouble=trouble,
        as_text=visit.query("as") == "text",
        state=in_words(progress),
        look=look_of(progress),
        recipients=recipients,
        count=len(statuses),
        more=visit.url("sent", message.identifier, **{"from": end}) if len(statuses) > end else "",
        can_withdraw=_can_withdraw(visit, message),
        was_fetched=any(one.state is State.FETCHED for one in statuses),
        earlier=conversation.earlier,
        later=conversation.later,
    )


def _told_fields(visit: Visit, message: StoredMessage) -> dict[str, str]:
    """The header as it stands outside; of a sealed message with those whom it was sent to."""
    fields = header_fields(message.header)
    if message.sealed is None:
        return fields
    return {"to": listing.recipients_of(visit, message), **fields}


def _can_withdraw(visit: Visit, message: StoredMessage) -> bool:
    return message.withdrawn_at is None and message.expires_at > visit.agent.clock()
