"""``compose``: a message is written; ``drafts``: those that were begun.

Whatever the form sends is kept as a draft first, files and all, and only then looked at: so nothing
is lost by an error, and files can be attached one after another without script. But what is to be
sealed is not kept in the clear because it is sent: where none of its author's keys is unlocked, it
is handed in as it came, and after an error it is in the page alone.

A message is sent once: its Message-ID is made of the draft's identifier, or of one that the empty
form came with, and injection takes the same Message-ID of the same sender once (protocol, section
4). Who presses twice, or loads the answer again, is led to the message that was sent.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from webob import Response

from xhmtp_wsgi.errors import DatabaseUnavailable, NotFound, TooLarge, XHMTPError
from xhmtp_wsgi.protocol.access_code import is_identifier, new_identifier
from xhmtp_wsgi.protocol.composed_parts import file_name
from xhmtp_wsgi.protocol.composing import NewAttachment
from xhmtp_wsgi.secret_box import Locked
from xhmtp_wsgi.sender import drafts, outbox
from xhmtp_wsgi.sender.drafts import MOST_ATTACHED, Draft, DraftFields
from xhmtp_wsgi.sender.outbox import StoredMessage
from xhmtp_wsgi.web import words
from xhmtp_wsgi.web.answering import signed
from xhmtp_wsgi.web.changes import asked_again, is_sure
from xhmtp_wsgi.web.compose_sealing import (
    Question,
    choice,
    is_to_be_sealed,
    question,
    wish_of,
)
from xhmtp_wsgi.web.listing import NO_SUBJECT
from xhmtp_wsgi.web.page import Page
from xhmtp_wsgi.web.sending import UnusableFields, message_id_of, planned, send
from xhmtp_wsgi.web.visit import Visit

# Twice as much as is taken, so that who attaches too much is told so, and his text is not lost.
MOST_FORM = 2 * MOST_ATTACHED + (8 << 20)  # octets of the form, with what is attached by it
LAST_SENT = 50  # messages among which one is looked for that was just sent


@dataclass(frozen=True, slots=True)
class _Form:
    """What the page shows. ``key``: what the Message-ID is made of; ``wrong``: by field.

    ``locked``: why it could not even be kept; ``question``: what is to be settled of sealing it;
    ``unkept``: it is in this page alone.
    """

    fields: DraftFields
    key: str
    draft: Draft | None = None
    wrong: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""
    locked: str = ""
    question: Question | None = None
    unkept: bool = False


def composed(visit: Visit) -> Response:
    """``GET compose``, or ``compose/DRAFT``."""
    if len(visit.path) == 1:
        fields = DraftFields(to=visit.query("to"), text=signed(visit, ""))
        return _page(visit, _Form(fields, new_identifier()))
    draft = drafts.find(visit.database, visit.owner, _named(visit), visit.draft_boxes)
    return _page(visit, _Form(draft.fields, draft.identifier, draft))


def written(visit: Visit) -> Response:
    """``POST compose``, or ``compose/DRAFT``: by the button that was pressed."""
    form = visit.form()
    if form.text("do") == "delete" and _named(visit):
        return asked_again(visit, visit.url("drafts"), "delete", [_named(visit)])
    key = form.text("key") if is_identifier(form.text("key")) else new_identifier()
    if form.text("do") == "send" and not _named(visit) and _must_not_be_kept(visit):
        return _sent_unkept(visit, key)
    try:
        identifier = _saved(visit)
    except Locked as error:
        # It must not be kept in the clear: it is in this page alone.
        return _page(visit, _Form(_typed(visit), key, locked=str(error)), 403)
    if identifier is None:
        return _after_its_end(visit, key)
    trouble = _attached(visit, identifier)
    if trouble:
        draft = drafts.find(visit.database, visit.owner, identifier, visit.draft_boxes)
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
    found = drafts.listed(visit.database, visit.owner, boxes=visit.draft_boxes)
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
        return _kept(visit, _named(visit))
    except NotFound:
        return None


def _kept(visit: Visit, identifier: str) -> str:
    """Keeps what was typed; sealed, if the draft that the page showed was. Raises Locked."""
    return drafts.save(
        visit.database,
        visit.owner,
        _typed(visit),
        visit.agent.clock(),
        identifier,
        boxes=visit.draft_boxes,
        sealed=visit.form().text("sealed") == "yes"
        or (bool(visit.draft_boxes) and is_to_be_sealed(visit)),
    )


def _must_not_be_kept(visit: Visit) -> bool:
    """Is it to be sealed, and could be kept in the clear only?"""
    return is_to_be_sealed(visit) and not visit.draft_boxes


def _sent_unkept(visit: Visit, key: str) -> Response:
    """Hands in what the form sent, which nothing of ours keeps."""
    uploads = [
        NewAttachment(file_name(one.name), one.type, one.octets)
        for one in visit.form().files("files")
    ]
    draft = Draft(key, _typed(visit), visit.agent.clock())
    if sum(len(one.octets) for one in uploads) > MOST_ATTACHED:
        wrong = {"files": f"All that is attached may have {words.size(MOST_ATTACHED)}."}
        return _page(visit, _Form(draft.fields, key, wrong=wrong, unkept=True), 413)
    sent = _handed_in(visit, draft, key, uploads)
    if isinstance(sent, StoredMessage):
        return visit.redirect("sent", sent.identifier, note="sent")
    return _page(visit, replace(sent, draft=None, unkept=True), 422)


def _after_its_end(visit: Visit, key: str) -> Response:
    """Its draft is gone: the message was sent a moment ago, or the draft thrown away meanwhile."""
    already = _sent_already(visit, key)
    if already is not None:
        return visit.redirect("sent", already.identifier, note="sent")
    identifier = _kept(visit, "")
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
            drafts.attach(
                visit.database,
                visit.owner,
                identifier,
                name,
                upload.type,
                upload.octets,
                visit.draft_boxes,
            )
        except TooLarge:
            return (
                f"{name} is not attached: all that is attached to a message may have "
                f"{words.size(MOST_ATTACHED)}."
            )
    return ""


def _sent(visit: Visit, identifier: str, key: str) -> Response:
    draft = drafts.find(visit.database, visit.owner, identifier, visit.draft_boxes)
    sent = _handed_in(visit, draft, key, ())
    if not isinstance(sent, StoredMessage):
        return _page(visit, sent, 422)
    # Who pressed twice may have been quicker.
    with suppress(NotFound):
        drafts.delete(visit.database, visit.owner, identifier)
    return visit.redirect("sent", sent.identifier, note="sent")


def _handed_in(
    visit: Visit, draft: Draft, key: str, uploads: Sequence[NewAttachment]
) -> StoredMessage | _Form:
    """The message that was sent; else the form, which says why it was not."""
    owner, wish = visit.owner.canonical, wish_of(visit)
    try:
        asked = question(visit, planned(visit.agent, owner, draft, wish))
        if asked is not None:
            return _Form(draft.fields, key, draft, question=asked)
        return send(visit.agent, owner, draft, key, wish, uploads)
    except UnusableFields as error:
        return _Form(draft.fields, key, draft, error.reasons)
    except DatabaseUnavailable:
        raise
    except XHMTPError as error:
        return _Form(draft.fields, key, draft, trouble=str(error))


def _page(visit: Visit, form: _Form, status: int = 200) -> Response:
    path = ("compose", form.draft.identifier) if form.draft else visit.path
    sealed = form.draft.sealed if form.draft else bool(form.locked)
    return visit.page(
        "compose.html",
        status,
        action=visit.url(*path),
        form=form,
        draft=form.draft,
        sealed=sealed,
        choice=choice(visit, sealed=sealed),
        attachments=form.draft.attachments if form.draft else (),
        most_attached=MOST_ATTACHED,
        unquoted=visit.query("unquoted"),
        lost=visit.query("lost") == "yes",
    )
