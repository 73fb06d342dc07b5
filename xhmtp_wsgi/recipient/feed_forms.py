"""What the feed shows of each notice, in its two forms: RSS 2.0 by PyRSS2Gen, and JSON Feed 1.1.

Security: every string is made fit for XML 1.0 first, and the whole is tried by a parser: no sender
can make the feed unreadable. Links are URLs that were checked when they came in.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from xml.parsers import expat

import PyRSS2Gen

from xhmtp_wsgi._version import __version__
from xhmtp_wsgi.protocol.digest import repr_digest
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import clean_xml
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.sealed_message import TITLE, TYPE
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.recipient.unsealing import is_sealed_notice

ATOM = "http://www.w3.org/2005/Atom"


@dataclass(frozen=True, slots=True)
class Entry:
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


def entry_of(notice: Notice, *, bare: bool) -> Entry:
    """A notice as the feed shows it; ``bare``: with a link that opens nothing by itself."""
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
    return Entry(
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


class _Feed(PyRSS2Gen.RSS2):  # type: ignore[misc]
    """RSS 2.0 with the links of RFC 5005 and the author as it stands in From (Dublin Core)."""

    rss_attrs = {  # noqa: RUF012 - PyRSS2Gen's own name and form
        "version": "2.0",
        "xmlns:atom": ATOM,
        "xmlns:dc": "http://purl.org/dc/elements/1.1/",
    }
    page_links: Mapping[str, str]

    def publish_extensions(self, handler: Any) -> None:
        for relation, address in self.page_links.items():
            attributes = {"rel": relation, "href": address, "type": "application/rss+xml"}
            handler.startElement("atom:link", attributes)
            handler.endElement("atom:link")


class _Item(PyRSS2Gen.RSSItem):  # type: ignore[misc]
    creator: str

    def publish_extensions(self, handler: Any) -> None:
        PyRSS2Gen._element(handler, "dc:creator", self.creator)


def as_rss(
    owner: Endpoint, entries: Sequence[Entry], links: Mapping[str, str], changed_at: float
) -> bytes:
    """RSS 2.0. ``links``: by relation; ``changed_at``: seconds since the epoch."""
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
        lastBuildDate=datetime.fromtimestamp(changed_at, UTC) if entries else None,
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


def as_json(
    owner: Endpoint, entries: Sequence[Entry], links: Mapping[str, str]
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
