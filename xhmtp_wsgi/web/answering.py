"""Replies and forwards: a draft is begun from a message that came, and shown to be written on.

A draft, and not just a filled-in form: a form without script can then have files attached, and
nothing is lost. What a message says is quoted where it can be opened; a reply is begun without it
where its sender's server is down, or it is sealed and locked. What answers a sealed message that is
unlocked is a sealed draft.
"""

from webob import Response

from xhmtp_wsgi import preferences
from xhmtp_wsgi.errors import MalformedMessage, TooLarge, XHMTPError
from xhmtp_wsgi.protocol.composing import NewMessage, forward_of, header_fields, reply_to
from xhmtp_wsgi.protocol.mime_parts import entity_of
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.unsealing import true_fields
from xhmtp_wsgi.secret_box import Locked
from xhmtp_wsgi.sender import drafts
from xhmtp_wsgi.sender.drafts import DraftFields
from xhmtp_wsgi.web.own_choices import SIGNATURE
from xhmtp_wsgi.web.sealed_reading import open_for
from xhmtp_wsgi.web.shown_parts import parts_of
from xhmtp_wsgi.web.shown_text import is_html, text_of_message
from xhmtp_wsgi.web.visit import Visit

ORIGINAL = "message.eml"
MOST_QUOTED = 100_000  # characters


def reply(visit: Visit, notice: Notice) -> Response:
    """Begins a reply to its author."""
    return _reply(visit, notice, everybody=False)


def reply_to_all(visit: Visit, notice: Notice) -> Response:
    """Begins a reply to its author and all others whom it names."""
    return _reply(visit, notice, everybody=True)


def forward(visit: Visit, notice: Notice) -> Response:
    """Begins a message that passes it on. Raises as ``open_for`` does."""
    opened = open_for(visit, notice)
    return forward_octets(visit, opened.octets, sealed=opened.sealed)


def forward_octets(visit: Visit, octets: bytes, *, sealed: bool = False) -> Response:
    """The same for a message that is at hand: its text, and itself where it has more than that.

    ``sealed``: that is how it came. Raises Locked for such a one where no key is unlocked.
    """
    text = text_of_message(octets, MOST_QUOTED)
    new = forward_of(_fields(octets), text, str(visit.owner))
    draft = _begun(visit, new, sealed=sealed)
    if _has_more_than_text(octets):
        try:
            drafts.attach(
                visit.database,
                visit.owner,
                draft,
                ORIGINAL,
                "message/rfc822",
                octets,
                visit.draft_boxes,
            )
        except TooLarge:
            drafts.delete(visit.database, visit.owner, draft)
            raise
    return visit.redirect("compose", draft)


def signed(visit: Visit, text: str) -> str:
    """The text with what the owner has chosen to stand below it."""
    signature = preferences.get(visit.database, visit.owner, SIGNATURE, "")
    return f"{text}\n\n-- \n{signature}" if signature else text


def _reply(visit: Visit, notice: Notice, *, everybody: bool) -> Response:
    told, text, unquoted, sealed = header_fields(notice.headers), "", None, False
    try:
        opened = open_for(visit, notice)
    except XHMTPError as error:
        # The reply matters more than what it quotes; the form tells that it is missing.
        unquoted = "sealed" if isinstance(error, Locked) else "yes"
    else:
        sealed = opened.sealed
        inside = _fields(opened.octets)
        told = true_fields(notice, opened.octets) if sealed else {**inside, **told}
        text = text_of_message(opened.octets, MOST_QUOTED)
    new = reply_to(told, text, str(visit.owner), everybody=everybody)
    return visit.redirect("compose", _begun(visit, new, sealed=sealed), unquoted=unquoted)


def _begun(visit: Visit, new: NewMessage, *, sealed: bool) -> str:
    fields = DraftFields(
        to=", ".join(new.to),
        cc=", ".join(new.cc),
        subject=new.subject,
        text=signed(visit, new.text),
        in_reply_to=new.in_reply_to,
        references=new.references,
    )
    return drafts.save(
        visit.database,
        visit.owner,
        fields,
        visit.agent.clock(),
        boxes=visit.draft_boxes,
        sealed=sealed,
    )


def _fields(octets: bytes) -> dict[str, str]:
    try:
        return header_fields(octets)
    except MalformedMessage:
        return {}


def _has_more_than_text(octets: bytes) -> bool:
    parts = parts_of(entity_of(octets), prefer_html=False).parts
    return any(not part.is_text or is_html(part) for part in parts)
