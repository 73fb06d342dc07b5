"""The lists of what came, by folder or with a star.

``GET inbox``, ``folder?name=``, ``starred``; ``before`` goes on from a message's position, and
``only=unread`` leaves out what was read.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from webob import Response

from xhmtp_wsgi.recipient import mailbox
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.mailbox import INBOX, OWN_FOLDERS, Wanted
from xhmtp_wsgi.web import changes, words
from xhmtp_wsgi.web.listing import no_place, received
from xhmtp_wsgi.web.page import Page
from xhmtp_wsgi.web.visit import Visit


@dataclass(frozen=True, slots=True)
class _Shown:
    """Which list is shown; ``folder``: None for what has a star, wherever it is."""

    folder: str | None
    unread: bool

    @property
    def title(self) -> str:
        """What the list is called."""
        return "Starred" if self.folder is None else words.folder(self.folder)

    def url(self, visit: Visit, before: int | None = None, *, unread: bool | None = None) -> str:
        """Where it is, from a position on; ``unread``: by default as it is shown."""
        kept = self.unread if unread is None else unread
        query = {"before": before, "only": "unread" if kept else None}
        if self.folder is None:
            return visit.url("starred", **query)
        if self.folder == INBOX:
            return visit.url("inbox", **query)
        return visit.url("folder", name=self.folder, **query)


def shown_inbox(visit: Visit) -> Response:
    """``GET inbox``."""
    return _list(visit, _Shown(INBOX, _only_unread(visit)))


def shown_folder(visit: Visit) -> Response:
    """``GET folder?name=``: an empty list where he has no such folder."""
    name = visit.query("name")
    if name in ("", INBOX):
        return visit.redirect("inbox")
    return _list(visit, _Shown(name, _only_unread(visit)))


def shown_starred(visit: Visit) -> Response:
    """``GET starred``: of all folders but the trash."""
    return _list(visit, _Shown(None, _only_unread(visit)))


PAGES: Mapping[str, Page] = {
    "inbox": Page(get=shown_inbox),
    "folder": Page(get=shown_folder),
    "starred": Page(get=shown_starred),
    "change": Page(post=changes.change),
}


def _only_unread(visit: Visit) -> bool:
    return visit.query("only") == "unread"


def _folder_of(notice: Notice) -> str:
    return words.folder(notice.folder)


def _list(visit: Visit, shown: _Shown) -> Response:
    before = visit.number("before")
    limit = visit.agent.settings.page_size
    wanted = Wanted(shown.folder, unseen=shown.unread, starred=shown.folder is None)
    found = mailbox.listed(visit.database, visit.owner, wanted, limit=limit + 1, before=before)
    notices = found[:limit]
    names = [one.name for one in mailbox.folders(visit.database, visit.owner)]
    return visit.page(
        "list.html",
        title=shown.title,
        folder=shown.folder,
        unread=shown.unread,
        before=before,
        lines=received(visit, notices, no_place if shown.folder is not None else _folder_of),
        own_folders=[name for name in names if name not in OWN_FOLDERS and name != shown.folder],
        newest=shown.url(visit) if before is not None else "",
        older=shown.url(visit, notices[-1].position) if len(found) > limit else "",
        other=shown.url(visit, unread=not shown.unread),
    )
