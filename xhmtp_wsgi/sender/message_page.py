"""A message as a page, for a recipient who opens its URL in a browser (protocol, section 8).

Strangers wrote the message, and the page is served from the site's own origin. So it is text: what
was HTML is shown as the text in it, what is neither is listed by name, and nothing in it can run,
load or lead anywhere. The answer's Content-Security-Policy holds the same once more.
"""

import email
import email.policy
import hashlib
from base64 import b64encode
from collections.abc import Iterator
from email.message import Message
from html import escape
from html.parser import HTMLParser
from typing import cast

from webob import Request

from xhmtp_wsgi.protocol.header_values import display

MOST = 2 << 20  # octets of a message that are looked at
MOST_PARTS = 100
DEEPEST = 10
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
    return "source" not in request.GET and _is_browser(request)


def wants_source(request: Request) -> bool:
    """Is it a browser that asks for the source, as the page says how?"""
    return "source" in request.GET and _is_browser(request)


def _is_browser(request: Request) -> bool:
    best = request.accept.acceptable_offers(["message/rfc822", "text/html"])
    return bool(best) and best[0][0] == "text/html" and "text/html" in str(request.accept)


def message_page(octets: bytes, *, truncated: bool) -> str:
    """The page. ``octets``: the message, or its first MOST octets, and ``truncated`` then."""
    message, sections = _looked_at(octets)
    title = _field(message, "Subject") or "(no subject)"
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
    lines.append("</dl>")
    lines += sections
    if truncated:
        lines.append("<p>The message is longer; this is its beginning.</p>")
    # No link: a page in the sandbox can lead nowhere, not even to itself.
    lines.append(
        "<section><p>With <kbd>?source=1</kbd> at the end of its address, this page shows the "
        "source of the message, with everything in it.</p></section></main></body></html>"
    )
    return "\n".join(lines) + "\n"


def _looked_at(octets: bytes) -> tuple[Message, list[str]]:
    """The message as Python's parser has it, and the page's sections; the source if that fails."""
    try:
        message = email.message_from_bytes(octets, policy=email.policy.compat32)
        return message, list(_sections(message))
    except Exception:
        source = _harmless(octets.decode("latin-1")[:MOST_TEXT])
        return Message(), [f"<pre>{escape(source)}</pre>"]


def _sections(message: Message) -> Iterator[str]:
    left = MOST_TEXT
    for count, part in enumerate(_parts(message, 0)):
        if count >= MOST_PARTS:
            yield f"<p>There are more than {MOST_PARTS} parts; the others are not shown.</p>"
            return
        text = _text_of(part)
        if text is None:
            yield _listed(part)
            continue
        yield f'<pre dir="auto">{escape(text[:left])}</pre>'
        left -= min(left, len(text))
        if not left:
            yield "<p>There is more text than is shown here.</p>"
            return


def _parts(message: Message, depth: int) -> Iterator[Message]:
    """The parts that hold something, depth first."""
    if not message.is_multipart():
        yield message
        return
    if depth >= DEEPEST:
        return
    for part in cast(list[Message], message.get_payload()):
        yield from _parts(part, depth + 1)


def _text_of(part: Message) -> str | None:
    """A part's text; None for what is not text, or is meant to be kept apart."""
    kind = part.get_content_type()
    if part.get_content_maintype() == "multipart":
        # It says that it has parts, and has none.
        kind = "text/plain"
    apart = str(part.get("Content-Disposition", "")).lower().startswith("attachment")
    if apart or kind not in ("text/plain", "text/html"):
        return None
    payload = part.get_payload(decode=True)
    octets = payload if isinstance(payload, bytes) else b""
    charset = part.get_content_charset() or "utf-8"
    try:
        text = octets.decode(charset, "replace")
    except (LookupError, ValueError):
        text = octets.decode("latin-1")
    return _harmless(text_in(text) if kind == "text/html" else text)


def _listed(part: Message) -> str:
    name = display(part.get_filename() or "") or "without a name"
    size = len(part.get_payload(decode=True) or b"")
    kind = display(part.get_content_type())
    return (
        f"<p>Attached: <bdi>{escape(name)}</bdi> "
        f"({escape(kind)}, {size:,} octets); it is in the source.</p>"
    )


def _field(message: Message, name: str) -> str:
    value = message.get(name)
    return display(str(value)) if value is not None else ""


def _harmless(text: str) -> str:
    """The text with nothing in it that turns it around, hides, or rings."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(
        "".join(
            character
            for character in line
            if character in "\t\u200c\u200d"
            or (character.isprintable() and character not in _TURNING)
        )
        for line in lines
    ).strip("\n")


_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"


def text_in(html: str) -> str:
    """The text of an HTML part, with the addresses that its links hide."""
    reader = _TextReader()
    reader.feed(html)
    reader.close()
    return "".join(reader.found)


class _TextReader(HTMLParser):
    """Collects text; a link's address follows it in angle brackets."""

    _UNSHOWN = frozenset({"script", "style", "head", "title", "template", "noscript", "svg"})
    _LINES = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "blockquote", "hr"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._unshown = 0
        self._links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._UNSHOWN:
            self._unshown += 1
        elif tag in self._LINES:
            self.found.append("\n")
        elif tag == "a" and len(self._links) < DEEPEST:
            self._links.append(dict(attrs).get("href") or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._LINES:
            self.found.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._UNSHOWN:
            self._unshown = max(0, self._unshown - 1)
        elif tag == "a" and self._links:
            address = self._links.pop()
            if address:
                self.found.append(f" <{address[:500]}>")

    def handle_data(self, data: str) -> None:
        if not self._unshown:
            self.found.append(data)
