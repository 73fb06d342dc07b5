"""``GET search?q=``: what he has got and what he has sent, by words of subject, people, texts.

Where his key is unlocked, also by what is inside of sealed messages that he has opened.
"""

from collections.abc import Mapping, Sequence

from webob import Response

from xhmtp_wsgi import search
from xhmtp_wsgi.recipient import inbox, mailbox, sealed_extracts
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.search import Hit
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.web import words
from xhmtp_wsgi.web.listing import Line, received, sent
from xhmtp_wsgi.web.page import Page
from xhmtp_wsgi.web.visit import Visit


def shown_search(visit: Visit) -> Response:
    """The form, and what is found, newest first; goes on with ``before``."""
    asked = visit.query("q")[: search.MOST_QUERY].strip()
    before = visit.number("before")
    limit = visit.agent.settings.page_size
    hits = _found(visit, asked, limit + 1, before)
    shown = hits[:limit]
    more = len(hits) > limit
    return visit.page(
        "search.html",
        asked=asked,
        lines=_lines(visit, shown),
        before=before,
        newest=visit.url("search", q=asked) if before is not None else "",
        older=visit.url("search", q=asked, before=shown[-1].number) if more else "",
    )


PAGES: Mapping[str, Page] = {"search": Page(get=shown_search)}


def _found(visit: Visit, asked: str, limit: int, before: int | None) -> list[Hit]:
    """The hits, newest first, each once."""
    hits = search.find(visit.database, visit.owner, asked, limit=limit, before=before)
    if not visit.is_unlocked:
        return hits
    inside = sealed_extracts.find(
        visit.database, visit.owner, visit.identities, asked, limit=limit, before=before
    )
    return sorted({*hits, *inside}, key=lambda hit: hit.number, reverse=True)[:limit]


def _lines(visit: Visit, hits: Sequence[Hit]) -> list[Line]:
    """What was found, in the order of the hits; what is gone meanwhile is left out."""
    lines: dict[tuple[str, str], Line] = {}
    came = mailbox.several(visit.database, visit.owner, _items(hits, inbox.SEARCH_KIND))
    for line in received(visit, came, _place):
        lines[inbox.SEARCH_KIND, line.identifier] = line
    for message in outbox.several(visit.database, visit.owner, _items(hits, outbox.SEARCH_KIND)):
        lines[outbox.SEARCH_KIND, message.identifier] = sent(visit, message, place="Sent")
    keys = [(hit.kind, hit.item) for hit in hits]
    return [lines[key] for key in keys if key in lines]


def _items(hits: Sequence[Hit], kind: str) -> list[str]:
    return [hit.item for hit in hits if hit.kind == kind]


def _place(notice: Notice) -> str:
    return "Quarantine" if notice.position < 0 else words.folder(notice.folder)
