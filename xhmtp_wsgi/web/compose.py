"""``compose``: a message is written; ``drafts``: those that were begun.

Whatever the form sends is kept as a draft first, files and all, and only then looked at: so nothing
is lost by an error, and files can be attached one after another without script.

A message is sent once: its Message-ID is made of the draft's identifier, or of one that the empty
form came with, and injection takes the same Message-ID of the same sender once (protocol, section
4). Who presses twice, or loads the answer again, is led to the message that was sent.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from webob import Response

from xhmtp_wsgi.errors import DatabaseUnavailable, NotFound, TooLarge, XHMTPError
from xhmtp_wsgi.protocol.access_code import is_identifier, new_identifier
from xhmtp_wsgi.protocol.composed_parts import file_name
from xhmtp_wsgi.sender import drafts, outbox
from xhmtp_wsgi.sender.drafts import MOST_ATTACHED, Draft, DraftFields
from xhmtp_wsgi.sender.outbox import StoredMessage
from xhmtp_wsgi.web import words
from xhmtp_wsgi.web.answering import signed
from xhmtp_wsgi.web.changes import asked_again, is_sure
from xhmtp_wsgi.web.listing import NO_SUBJECT
from xhmtp_wsgi.web.page import Page
from xhmtp_wsgi.web.sending import UnusableFields, message_id_of, send
from xhmtp_wsgi.web.visit import Visit

# Twice as much as is taken, so that who attaches too much is told so, and his text is not lost.
MOST_FORM = 2 * MOST_ATTACHED + (8 << 20)  # octets of the form, with what is attached by it
LAST_SENT = 50  # messages among which one is looked for that was just sent


@dataclass(frozen=True, slots=True)
class _Form:
    """What the page shows. ``key``: what the Message-ID is made of; ``wrong``: by field."""

    fields: DraftFields
    key: str
    draft: Draft | None = None
    wrong: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""


def composed(visit: Visit) -> Response:
    """``GET compose``, or ``compose/DRAFT``."""
    if len(visit.path) == 1:
        fields = DraftFields(to=visit.query("to"), text=signed(visit, ""))
        return _page(visit, _Form(fields, new_identifier()))
    draft = drafts.find(visit.database, visit.owner, _named(visit))
    return _page(visit, _Form(draft.fields, draft.identifier, draft))


def written(visit: Visit) -> Response:
    """``POST compose``, or ``compose/DRAFT``: by the button that was pressed."""
    form = visit.form()
    if form.text("do") == "delete" and _named(visit):
        return asked_again(visit, visit.url("drafts"), "delete", [_named(visit)])
    key = form.text("key") if is_identifier(form.text("key")) else new_identifier()
    identifier = _saved(visit)
    if identifier is None:
        return _after_its_end(visit, key)
    trouble = _attached(visit, identifier)
    if trouble:
        draft = drafts.find(visit.database, visit.owner, identifier)
        return _page(visit, _Form(draft.fields, key, draft, {"files": trouble}), 413)
    if form.text("detach"):
        # Another window may have been quicker.
        with suppress(NotFound):
            drafts.detach(visit.database, visit.owner, identifier, form.text("detach"))
        return visit.redirect("compose", identifier, note="detached")
    if form.text("do") == "send":
        return _sent(visit, identifier, key)
    note = "attached" if form.text("do") == "attach" else "draft-saved"
    return visit.redirect("compose", identifier, note=note)


def begun(visit: Visit) -> Response:
    """``GET drafts``."""
    found = drafts.listed(visit.database, visit.owner)
    return visit.page("drafts.html", drafts=found, no_subject=NO_SUBJECT)


def thrown_away(visit: Visit) -> Response:
    """``POST drafts``: deletes one, after asking once more."""
    chosen = visit.form().texts("notice")
    if chosen and not is_sure(visit):
        return asked_again(visit, visit.url("drafts"), "delete", chosen)
    for identifier in chosen:
        # Another window may have been quicker.
        with suppress(NotFound):
            drafts.delete(visit.database, visit.owner, identifier)
    return visit.redirect("drafts", note="draft-deleted" if chosen else "nothing-chosen")


PAGES: Mapping[str, Page] = {
    "compose": Page(get=composed, post=written, most=MOST_FORM),
    "drafts": Page(get=begun, post=thrown_away),
}


def _named(visit: Visit) -> str:
    """The draft that the path names; empty for none."""
    if len(visit.path) > 2:
        raise NotFound("there is no such page")
    return visit.path[1] if len(visit.path) == 2 else ""


def _typed(visit: Visit) -> DraftFields:
    form = visit.form()

    def text(name: str) -> str:
        return form.text(name).replace("\r\n", "\n")

    return DraftFields(
        to=text("to"),
        cc=text("cc"),
        bcc=text("bcc"),
        subject=" ".join(text("subject").split("\n")),
        text=text("text"),
        in_reply_to=text("in_reply_to"),
        references=text("references"),
    )


def _saved(visit: Visit) -> str | None:
    """The draft in which what was typed is kept now; None where it had one, which is gone."""
    try:
        return drafts.save(
            visit.database, visit.owner, _typed(visit), visit.agent.clock(), _named(visit)
        )
    except NotFound:
        return None


def _after_its_end(visit: Visit, key: str) -> Response:
    """Its draft is gone: the message was sent a moment ago, or the draft thrown away meanwhile."""
    already = _sent_already(visit, key)
    if already is not None:
        return visit.redirect("sent", already.identifier, note="sent")
    identifier = drafts.save(visit.database, visit.owner, _typed(visit), visit.agent.clock())
    _attached(visit, identifier)
    return visit.redirect("compose", identifier, lost="yes")


def _sent_already(visit: Visit, key: str) -> StoredMessage | None:
    owner = visit.owner.canonical
    wanted = {message_id_of(owner, one) for one in (key, _named(visit))}
    found = outbox.sent(visit.database, owner, limit=LAST_SENT, skip=0)
    return next((message for message in found if message.message_id in wanted), None)


def _attached(visit: Visit, identifier: str) -> str:
    """Attaches the files that came with the form; what is to be said where that cannot be."""
    for upload in visit.form().files("files"):
        name = file_name(upload.name)
        try:
            drafts.attach(visit.database, visit.owner, identifier, name, upload.type, upload.octets)
        except TooLarge:
            return (
                f"{name} is not attached: all that is attached to a message may have "
                f"{words.size(MOST_ATTACHED)}."
            )
    return ""


def _sent(visit: Visit, identifier: str, key: str) -> Response:
    draft = drafts.find(visit.database, visit.owner, identifier)
    try:
        message = send(visit.agent, visit.owner.canonical, draft, key)
    except UnusableFields as error:
        return _page(visit, _Form(draft.fields, key, draft, error.reasons), 422)
    except DatabaseUnavailable:
        raise
    except XHMTPError as error:
        return _page(visit, _Form(draft.fields, key, draft, trouble=str(error)), 422)
    # Who pressed twice may have been quicker.
    with suppress(NotFound):
        drafts.delete(visit.database, visit.owner, identifier)
    return visit.redirect("sent", message.identifier, note="sent")


def _page(visit: Visit, form: _Form, status: int = 200) -> Response:
    path = ("compose", form.draft.identifier) if form.draft else ("compose",)
    return visit.page(
        "compose.html",
        status,
        action=visit.url(*path),
        form=form,
        draft=form.draft,
        attachments=form.draft.attachments if form.draft else (),
        most_attached=MOST_ATTACHED,
        unquoted=visit.query("unquoted") == "yes",
        lost=visit.query("lost") == "yes",
    )
