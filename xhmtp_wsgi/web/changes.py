"""``POST change``: what is done with several messages at once, from the form of a list."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from webob import Response

from xhmtp_wsgi.errors import Malformed
from xhmtp_wsgi.recipient import mailbox
from xhmtp_wsgi.recipient.mailbox import ARCHIVE, INBOX, TRASH
from xhmtp_wsgi.web.visit import Visit

Action: TypeAlias = Callable[[Visit, Sequence[str]], int]
"""Returns how many messages there were to be changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """An action, and the note that tells of it."""

    make: Action
    note: str


def _move_to(folder: str) -> Action:
    def move(visit: Visit, identifiers: Sequence[str]) -> int:
        return mailbox.move(visit.database, visit.owner, identifiers, folder)

    return move


def _set_seen(*, seen: bool) -> Action:
    def change(visit: Visit, identifiers: Sequence[str]) -> int:
        now = visit.agent.clock()
        return mailbox.set_seen(visit.database, visit.owner, identifiers, now, seen=seen)

    return change


def _set_starred(*, starred: bool) -> Action:
    def change(visit: Visit, identifiers: Sequence[str]) -> int:
        now = visit.agent.clock()
        return mailbox.set_starred(visit.database, visit.owner, identifiers, now, starred=starred)

    return change


def _move(visit: Visit, identifiers: Sequence[str]) -> int:
    """Into the folder that was chosen, or the one that was named, which is made so."""
    chosen = visit.form().text("folder")
    return mailbox.move(visit.database, visit.owner, identifiers, chosen)


def _delete(visit: Visit, identifiers: Sequence[str]) -> int:
    return mailbox.delete(visit.database, visit.owner, identifiers, visit.agent.clock())


CHANGES: Mapping[str, Change] = {
    "archive": Change(_move_to(ARCHIVE), "archived"),
    "trash": Change(_move_to(TRASH), "trashed"),
    "inbox": Change(_move_to(INBOX), "moved"),
    "move": Change(_move, "moved"),
    "seen": Change(_set_seen(seen=True), "seen"),
    "unseen": Change(_set_seen(seen=False), "unseen"),
    "star": Change(_set_starred(starred=True), "starred"),
    "unstar": Change(_set_starred(starred=False), "unstarred"),
    "delete": Change(_delete, "deleted"),
}
"""By the value of the button ``do``. A button ``star`` or ``unstar`` names its message itself."""
ENTER = "enter"
"""The button that Enter presses, whatever has the focus: moves where a folder is named."""


def change(visit: Visit) -> Response:
    """Makes the change, and leads back to the list that was shown."""
    form = visit.form()
    name, identifiers = form.text("do"), form.texts("notice")
    if name == ENTER:
        if not form.text("folder").strip():
            return _back(visit, "")
        name = "move"
    for own in ("star", "unstar"):
        if form.text(own):
            name, identifiers = own, [form.text(own)]
    chosen = CHANGES.get(name)
    if chosen is None:
        raise Malformed("there is no such change")
    if name == "delete" and identifiers and not is_sure(visit):
        return asked_again(visit, visit.url("change"), name, identifiers)
    changed = chosen.make(visit, identifiers) if identifiers else 0
    return _back(visit, chosen.note if changed else "nothing-chosen")


def is_sure(visit: Visit) -> bool:
    """Was the form sent by ``asked_again``'s page?"""
    return visit.form().text("sure") == "yes"


def asked_again(visit: Visit, action: str, name: str, identifiers: Sequence[str]) -> Response:
    """A page that asks whether these are to be deleted for good, as nothing brings them back."""
    kept = [(field, visit.form().text(field)) for field in ("shown", "position", "only")]
    return visit.page(
        "sure.html",
        action=action,
        name=name,
        count=len(identifiers),
        fields=[*kept, *(("notice", identifier) for identifier in identifiers)],
    )


def _back(visit: Visit, note: str) -> Response:
    form = visit.form()
    shown, before = form.text("shown"), form.number("position")
    only = "unread" if form.text("only") == "unread" else None
    query = {"before": before, "only": only}
    if not shown:
        return visit.redirect("starred", note=note, **query)
    if shown == INBOX:
        return visit.redirect("inbox", note=note, **query)
    return visit.redirect("folder", note=note, name=shown, **query)
