"""Bob's feed, as a reader asks for it: RSS 2.0, or JSON Feed 1.1 (docs/protocol.md, section 9).

Newest first, in pages (RFC 5005); ``until`` in the links of a page holds its place while new
messages arrive. A reader that tells what it had last (If-None-Match) gets all that came since,
even if that is more than a page, so that nothing is skipped between two polls.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import MalformedRequest, XHMTPError
from xhmtp_wsgi.login_guard import owner_logged_in
from xhmtp_wsgi.protocol.digest import http_date
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.recipient.feed_forms import as_json, as_rss, entry_of
from xhmtp_wsgi.recipient.inbox import Mailbox
from xhmtp_wsgi.responses import json_response, response
from xhmtp_wsgi.routes import InboxRoute, inbox_path

MOST_SINCE = 500  # items in a feed for a reader that has been away
_ETAG = re.compile(r'"(\d{1,18})-(\d{1,18})-[a-z]+"')
_COMPRESSED = re.compile(r'-(gzip|br)"$')


@dataclass(frozen=True, slots=True)
class _Place:
    """Which part of the feed was asked for."""

    page: int
    until: int
    size: int


def feed(agent: Agent, request: Request, route: InboxRoute) -> Response:
    """``GET /PREFIX/bob@B``."""
    owner = owner_logged_in(agent, request, route.endpoint, to_read_feed=True).endpoint
    mailbox = inbox.state(agent.database, owner)
    wants_json = _wants_json(request)
    bare = request.GET.get("links") == "bare"
    kind = f"{'json' if wants_json else 'rss'}{'bare' if bare else ''}"
    etag = f'"{mailbox.version}-{mailbox.last_position}-{kind}"'
    place = _place(request, mailbox, agent.settings.page_size)
    headers = {"ETag": etag}
    if mailbox.version > 0:
        headers["Last-Modified"] = http_date(mailbox.changed_at)
    if _unchanged(request, etag, mailbox):
        return response(304, b"", "application/rss+xml; charset=utf-8", headers)
    newest = place.until - (place.page - 1) * place.size
    limit = _limit(request, mailbox, place)
    notices = inbox.page(agent.database, owner, newest=newest, limit=limit)
    entries = [entry_of(notice, bare=bare) for notice in notices]
    links = _links(agent, owner, place, newest - limit, kept={"links": "bare"} if bare else {})
    if wants_json:
        return json_response(200, as_json(owner, entries, links), headers)
    body = as_rss(owner, entries, links, mailbox.changed_at)
    return response(200, body, "application/rss+xml; charset=utf-8", headers)


def _wants_json(request: Request) -> bool:
    offered = ["application/rss+xml", "application/feed+json", "application/json"]
    best = request.accept.acceptable_offers(offered)
    return bool(best) and best[0][0] != offered[0]


def _place(request: Request, mailbox: Mailbox, size: int) -> _Place:
    page = _number(request, "page", 1)
    until = min(_number(request, "until", mailbox.last_position), mailbox.last_position)
    return _Place(max(page, 1), until, size)


def _number(request: Request, name: str, default: int) -> int:
    given = request.GET.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) <= 15):
        raise MalformedRequest(f"{name} is not a number")
    return int(given)


def _unchanged(request: Request, etag: str, mailbox: Mailbox) -> bool:
    if "HTTP_IF_NONE_MATCH" in request.environ:
        return etag in _seen_etags(request)
    # If-Modified-Since counts whole seconds, in which several messages may come: only an ETag is
    # exact, so a second that is not over yet counts as changed.
    since = request.if_modified_since
    return since is not None and mailbox.version > 0 and mailbox.changed_at + 1 < since.timestamp()


def _seen_etags(request: Request) -> list[str]:
    """What If-None-Match names, as we have sent it.

    A web server that compresses an answer marks its ETag: nginx with W/, Apache with "-gzip" or
    "-br" at the end, which it passes on when it comes back.
    """
    given = request.environ.get("HTTP_IF_NONE_MATCH", "").split(",")
    return [_COMPRESSED.sub('"', tag.strip().removeprefix("W/")) for tag in given]


def _limit(request: Request, mailbox: Mailbox, place: _Place) -> int:
    """How many items: a page, or on the first page all that the reader has not seen."""
    seen = _ETAG.fullmatch(_seen_etags(request)[0])
    if seen is None or place.page != 1:
        return place.size
    missed = mailbox.last_position - int(seen[2])
    return max(place.size, min(missed, MOST_SINCE))


def _links(
    agent: Agent, owner: Endpoint, place: _Place, next_newest: int, kept: dict[str, str]
) -> dict[str, str]:
    """The addresses of this page and its neighbours, by relation (RFC 5005, section 3)."""
    base = _base(agent, owner)

    def link(page: int) -> str:
        query = kept if page == 1 else {**kept, "page": page, "until": place.until}
        return f"{base}?{urlencode(query)}" if query else base

    links = {"self": link(place.page), "first": link(1)}
    if place.page > 1:
        links["previous"] = link(place.page - 1)
    if next_newest > 0:
        pages_read = (place.until - next_newest) // place.size
        links["next"] = link(pages_read + 1)
    return links


def _base(agent: Agent, owner: Endpoint) -> str:
    """The feed's own address; without the host while the DNS cannot tell that."""
    try:
        path = inbox_path(agent.prefixes.of(owner.domain), owner)
        return f"{agent.url_of(owner.domain)}{path}"
    except XHMTPError:
        return f"{owner.quoted}"
