"""The places that every page leads to: folders, what was sent, settings; which one is shown."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xhmtp_wsgi.recipient import mailbox
from xhmtp_wsgi.recipient.mailbox import Folder
from xhmtp_wsgi.web import words

if TYPE_CHECKING:
    from xhmtp_wsgi.web.visit import Visit


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the navigation; ``unread``: how many, as text, empty for none."""

    name: str
    url: str
    current: bool
    unread: str = ""


def places(visit: "Visit") -> list[Place]:
    """Those of a mailbox, in the order in which they are shown."""
    inbox, archive, trash, *own = (
        _folder(visit, folder) for folder in mailbox.folders(visit.database, visit.owner)
    )
    return [
        inbox,
        _place(visit, "Starred", "starred"),
        *own,
        _place(visit, "Sent", "sent"),
        _place(visit, "Drafts", "drafts"),
        archive,
        trash,
        _place(visit, "Quarantine", "quarantine"),
        _place(visit, "Settings", "settings"),
    ]


def _place(visit: "Visit", name: str, segment: str) -> Place:
    return Place(name, visit.url(segment), visit.path[0] == segment)


def _folder(visit: "Visit", folder: Folder) -> Place:
    if folder.name == mailbox.INBOX:
        url, current = visit.url("inbox"), visit.path[0] == "inbox"
    else:
        url = visit.url("folder", name=folder.name)
        current = visit.path[0] == "folder" and visit.query("name") == folder.name
    unread = f"{folder.unseen}+" if folder.unseen >= mailbox.COUNTED else str(folder.unseen or "")
    if folder.name == mailbox.TRASH:
        unread = ""
    return Place(words.folder(folder.name), url, current, unread)
