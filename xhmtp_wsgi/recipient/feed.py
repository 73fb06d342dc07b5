"""Bob's feed: RSS 2.0 by PyRSS2Gen, or JSON Feed 1.1 if asked (docs/protocol.md, section 9).

Newest first, in pages (RFC 5005); ``until`` in the links of a page holds its place while new
messages arrive. A reader that tells what it had last (If-None-Match) gets all that came since,
even if that is more than a page, so that nothing is skipped between two polls.

Security: every string is made fit for XML 1.0 first, and each item is tried by a parser: no sender
can make the feed unreadable. Links are URLs that were checked when they came in.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from xml.parsers import expat

import PyRSS2Gen
from webob import Request, Response

from xhmtp_wsgi._version import __version__
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import MalformedRequest, Misdirected, NotAuthenticated, XHMTPError
from xhmtp_wsgi.login_guard import guarded, logged_in_by_site
from xhmtp_wsgi.protocol.basic_authentication import parse_authorization
from xhmtp_wsgi.protocol.digest import http_date, repr_digest
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import clean_xml
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.sealed_message import TITLE, TYPE
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.recipient.inbox import Mailbox, Notice
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.recipient.unsealing import is_sealed_notice
from xhmtp_wsgi.responses import json_response, response
from xhmtp_wsgi.routes import InboxRoute, inbox_path

MOST_SINCE = 500  # items in a feed for a reader that has been away
ATOM = "http://www.w3.org/2005/Atom"
_ETAG = re.compile(r'"(\d{1,18})-(\d{1,18})-[a-z]+"')
_COMPRESSED = re.compile(r'-(gzip|br)"$')


@dataclass(frozen=True, slots=True)
class _Place:
    """Which part of the feed was asked for."""

    page: int
    until: int
    size: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A notice as the feed shows it: plain text, fit for XML."""

    title: str
    author: str
    url: str
    size: int
    received: datetime
    text: str
    notice: Notice
    sealed: bool

    @property
    def type(self) -> str:
        """The media type of what its link leads to."""
        return TYPE if self.sealed else "message/rfc822"


def feed(agent: Agent, request: Request, route: InboxRoute) -> Response:
    """``GET /PREFIX/bob@B``."""
    owner = _authenticated(agent, request, route.endpoint)
    mailbox = inbox.state(agent.database, owner)
    as_json = _wants_json(request)
    bare = request.GET.get("links") == "bare"
    kind = f"{'json' if as_json else 'rss'}{'bare' if bare else ''}"
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
    entries = [_entry(notice, bare=bare) for notice in notices]
    links = _links(agent, owner, place, newest - limit, kept={"links": "bare"} if bare else {})
    if as_json:
        return json_response(200, _as_json(owner, entries, links), headers)
    body = _as_rss(owner, entries, links, mailbox)
    return response(200, body, "application/rss+xml; charset=utf-8", headers)


def _authenticated(agent: Agent, request: Request, endpoint: Endpoint) -> Endpoint:
    """The feed's owner: by a feed token, or his password, or logged in by the site."""
    if not agent.accounts.acts_for(endpoint.domain):
        raise Misdirected(f"this agent does not act for {endpoint.domain}")
    token = request.GET.get("token")
    if token is not None:
        given = token
        return guarded(
            agent,
            request,
            str(endpoint),
            lambda: agent.accounts.authenticate_token(endpoint, given),
        ).endpoint
    account = logged_in_by_site(agent, request)
    if account is not None and account.endpoint == endpoint.canonical:
        return account.endpoint
    credentials = parse_authorization(request.environ.get("HTTP_AUTHORIZATION"))
    if credentials is None:
        raise NotAuthenticated("the feed needs its owner's password or a feed token")
    named = {str(endpoint), str(endpoint.canonical), endpoint.local}
    if credentials.user not in named:
        raise NotAuthenticated("this is somebody else's feed")
    return guarded(
        agent,
        request,
        str(endpoint),
        lambda: agent.accounts.authenticate_reader(endpoint, credentials.password),
    ).endpoint


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


def _entry(notice: Notice, *, bare: bool) -> _Entry:
    fields = fields_of(notice)
    sealed = is_sealed_notice(notice)
    subject = fields.get("subject", "").strip()
    subject = subject or (TITLE if sealed else "(no subject)")
    author = fields.get("from", "").strip() or "anonymous"
    url = MessageURL.parse(notice.url).bare() if bare else notice.url
    lines = [
        f"{name}: {fields[name.lower()]}"
        for name in ("From", "To", "Cc", "Date")
        if fields.get(name.lower())
    ]
    lines.append(f"Size: {notice.size} octets" if notice.size is not None else "Size: not told")
    lines += [f"{check.name}: {check.result} ({check.reason})" for check in notice.checks]
    return _Entry(
        title=clean_xml(subject),
        author=clean_xml(author),
        url=url,
        size=notice.size or 0,
        received=datetime.fromtimestamp(notice.received_at, UTC),
        text=clean_xml("\n".join(lines)),
        notice=notice,
        sealed=sealed,
    )


def _guid(owner: Endpoint, notice: Notice) -> str:
    """A tag URI (RFC 4151): the same for ever, wherever the agent moves."""
    return f"tag:{owner.domain},2026:notice/{notice.identifier}"


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


class _Feed(PyRSS2Gen.RSS2):  # type: ignore[misc]
    """RSS 2.0 with the links of RFC 5005 and the author as it stands in From (Dublin Core)."""

    rss_attrs = {  # noqa: RUF012 - PyRSS2Gen's own name and form
        "version": "2.0",
        "xmlns:atom": ATOM,
        "xmlns:dc": "http://purl.org/dc/elements/1.1/",
    }
    page_links: dict[str, str]

    def publish_extensions(self, handler: Any) -> None:
        for relation, address in self.page_links.items():
            attributes = {"rel": relation, "href": address, "type": "application/rss+xml"}
            handler.startElement("atom:link", attributes)
            handler.endElement("atom:link")


class _Item(PyRSS2Gen.RSSItem):  # type: ignore[misc]
    creator: str

    def publish_extensions(self, handler: Any) -> None:
        PyRSS2Gen._element(handler, "dc:creator", self.creator)


def _as_rss(
    owner: Endpoint, entries: Sequence[_Entry], links: dict[str, str], mailbox: Mailbox
) -> bytes:
    items = []
    for entry in entries:
        item = _Item(
            title=entry.title,
            link=entry.url,
            description=entry.text,
            author=entry.author,
            categories=[f"{check.name}: {check.result}" for check in entry.notice.checks],
            enclosure=PyRSS2Gen.Enclosure(entry.url, entry.size, entry.type),
            guid=PyRSS2Gen.Guid(_guid(owner, entry.notice), isPermaLink=0),
            pubDate=entry.received,
        )
        item.creator = entry.author
        items.append(item)
    rss = _Feed(
        title=f"Messages for {owner}",
        link=links["first"],
        description=f"What waits for {owner}; each link leads to the sender's agent",
        generator=f"xhmtp_wsgi {__version__}",
        docs=None,
        lastBuildDate=datetime.fromtimestamp(mailbox.changed_at, UTC) if entries else None,
        items=items,
    )
    rss.page_links = links
    output = io.BytesIO()
    rss.write_xml(output, "utf-8")
    body = output.getvalue()
    parser = expat.ParserCreate()
    # A fault of ours ends here, as an error in the log, and not in bob's reader.
    parser.Parse(body, True)
    return body


def _as_json(
    owner: Endpoint, entries: Sequence[_Entry], links: dict[str, str]
) -> dict[str, object]:
    """JSON Feed 1.1, with what only we know under ``_xhmtp``."""
    feed_object: dict[str, object] = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": f"Messages for {owner}",
        "feed_url": links["self"],
        "items": [
            {
                "id": _guid(owner, entry.notice),
                "url": entry.url,
                "title": entry.title,
                "content_text": entry.text,
                "date_published": entry.received.isoformat(timespec="seconds"),
                "authors": [{"name": entry.author}],
                "attachments": [
                    {
                        "url": entry.url,
                        "mime_type": entry.type,
                        "size_in_bytes": entry.size,
                    }
                ],
                "_xhmtp": {
                    "sealed": entry.sealed,
                    "digest": repr_digest(entry.notice.digest) if entry.notice.digest else None,
                    "checks": {
                        check.name: {"result": check.result, "reason": check.reason}
                        for check in entry.notice.checks
                    },
                },
            }
            for entry in entries
        ],
    }
    if "next" in links:
        feed_object["next_url"] = links["next"]
    return feed_object
