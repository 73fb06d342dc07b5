"""A message as a page, for a recipient who opens its URL in a browser (protocol, section 8).

Strangers wrote the message, and the page is served from the site's own origin. So it is text: what
was HTML is shown as the text in it, what is neither is listed by name, and nothing in it can run,
load or lead anywhere. The answer's Content-Security-Policy holds the same once more.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from email.message import Message
from html import escape
from urllib.parse import parse_qs

from webob import Request

from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.mime_parts import (
    DEEPEST,
    Entity,
    TooDeep,
    decoded,
    entity_of,
    harmless,
    leaves,
    text_kind,
    text_of,
)
from xhmtp_wsgi.protocol.sealed_message import TITLE
from xhmtp_wsgi.sender.html_text import text_in

MOST = 2 << 20  # octets of a message that are looked at
MOST_PARTS = 100
MOST_TEXT = 512 << 10  # characters that are shown
SHOWN_FIELDS = ("From", "To", "Cc", "Date", "Subject")

STYLE = (
    ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}"
    "body{max-width:46rem;margin:0 auto;padding:1rem}h1{font-size:1.3rem;overflow-wrap:anywhere}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:0 0 1.5rem}"
    "dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:0 0 1.5rem}"
    "section{border-top:1px solid;padding-top:1rem}"
)
_STYLE_HASH = b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"sandbox; default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)


def wants_page(request: Request) -> bool:
    """Does this client want HTML rather than the message? Not curl, not a feed reader."""
    return not _asks_for_source(request) and _is_browser(request)


def wants_source(request: Request) -> bool:
    """Is it a browser that asks for the source, as the page says how?"""
    return _asks_for_source(request) and _is_browser(request)


def _asks_for_source(request: Request) -> bool:
    # WebOb's GET raises for a query that is not UTF-8.
    return "source" in parse_qs(request.query_string, keep_blank_values=True)


def _is_browser(request: Request) -> bool:
    best = request.accept.acceptable_offers(["message/rfc822", "text/html"])
    return bool(best) and best[0][0] == "text/html" and "text/html" in str(request.accept)


def message_page(octets: bytes, *, truncated: bool) -> str:
    """The page. ``octets``: the message, or its first MOST octets, and ``truncated`` then."""
    message, sections = _looked_at(octets)
    if truncated:
        sections.append("<p>The message is longer; this is its beginning.</p>")
    # No link: a page in the sandbox can lead nowhere, not even to itself.
    sections.append(
        "<section><p>With <kbd>?source=1</kbd> at the end of its address, this page shows the "
        "source of the message, with everything in it.</p></section>"
    )
    return _page(message, "(no subject)", sections)


def sealed_page(header: bytes) -> str:
    """The page of a sealed message: how it is opened. ``header``: the outer header block."""
    message, _ = _looked_at(header)
    sections = [
        "<section><p>This message is sealed: only the keys of its recipients open it, and this "
        "server has none of them.</p>",
        "<p>With <kbd>?source=1</kbd> at the end of its address it is kept as a file, which the "
        "program <kbd>age</kbd> opens: <kbd>age -d -i key.txt FILE</kbd>.</p></section>",
    ]
    return _page(message, TITLE, sections)


def _page(message: Message, no_subject: str, sections: list[str]) -> str:
    title = _field(message, "Subject") or no_subject
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>",
        f'<h1 dir="auto">{escape(title)}</h1><dl>',
    ]
    for name in SHOWN_FIELDS[:-1]:
        value = _field(message, name)
        if value:
            lines.append(f"<dt>{name}</dt><dd><bdi>{escape(value)}</bdi></dd>")
    return "\n".join([*lines, "</dl>", *sections, "</main></body></html>", ""])


def _looked_at(octets: bytes) -> tuple[Message, list[str]]:
    """The message's fields, and the page's sections; the source if reading them fails."""
    try:
        entity = entity_of(octets)
        return entity.fields, list(_sections(entity))
    except Exception:
        # Whatever surprises Python's parser of fields still has for strangers' octets.
        source = harmless(octets.decode("latin-1")[:MOST_TEXT])
        return Message(), [f"<pre>{escape(source)}</pre>"]


def _sections(message: Entity) -> Iterator[str]:
    left = MOST_TEXT
    for count, part in enumerate(leaves(message)):
        if count >= MOST_PARTS:
            yield f"<p>There are more than {MOST_PARTS} parts; the others are not shown.</p>"
            return
        if isinstance(part, TooDeep):
            yield f"<p>Parts nested more than {DEEPEST} deep are not shown.</p>"
            continue
        kind = text_kind(part)
        if kind is None:
            yield _listed(part)
            continue
        text, note = _shown_text(part, kind)
        if note:
            yield f"<p>{escape(note)}</p>"
        if left:
            yield f'<pre dir="auto">{escape(harmless(text[:left]))}</pre>'
        if len(text) > left:
            yield "<p>There is more text than is shown here.</p>"
        left -= min(left, len(text))


def _shown_text(part: Entity, kind: str) -> tuple[str, str]:
    text, note = text_of(part)
    return (text_in(text) if kind == "text/html" else text), note


def _listed(part: Entity) -> str:
    name = display(part.fields.get_filename() or "") or "without a name"
    kind = display(part.fields.get_content_type())
    return (
        f"<p>Attached: <bdi>{escape(name)}</bdi> "
        f"({escape(kind)}, {len(decoded(part)):,} octets); it is in the source.</p>"
    )


def _field(message: Message, name: str) -> str:
    value = message.get(name)
    return display(str(value)) if value is not None else ""
