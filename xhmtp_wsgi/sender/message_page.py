"""A message as a page, for a recipient who opens its URL in a browser (protocol, section 8).

Strangers wrote the message, and the page is served from the site's own origin. So it is text: what
was HTML is shown as the text in it, what is neither is listed by name, and nothing in it can run,
load or lead anywhere. The answer's Content-Security-Policy holds the same once more.

Whatever was sent takes linear time. Python's parser of mail is quadratic in places (parts in parts,
parameters), so parts are split here.
"""

import codecs
import hashlib
import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from html import escape
from urllib.parse import parse_qs

from webob import Request

from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.sender.html_text import text_in

MOST = 2 << 20  # octets of a message that are looked at
MOST_PARTS = 100
DEEPEST = 10
MOST_TEXT = 512 << 10  # characters that are shown
MOST_HEADER = 64 << 10  # octets of a part's header block that are looked at
# Python finds a field's parameters in quadratic time.
MOST_FIELD = 4 << 10  # characters of a field that are looked at
SHOWN_FIELDS = ("From", "To", "Cc", "Date", "Subject")
_KEPT_FIELDS = {name.lower() for name in SHOWN_FIELDS} | {
    "content-type",
    "content-disposition",
    "content-transfer-encoding",
}

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
    """The message's fields, and the page's sections; the source if reading them fails."""
    try:
        entity = _entity(octets)
        return entity.fields, list(_sections(entity))
    except Exception:
        # Whatever surprises Python's parser of fields still has for strangers' octets.
        source = _harmless(octets.decode("latin-1")[:MOST_TEXT])
        return Message(), [f"<pre>{escape(source)}</pre>"]


@dataclass(frozen=True, slots=True)
class _Entity:
    """A message or a part of one: its fields, and its body as it was sent."""

    fields: Message
    body: bytes


class _TooDeep:
    """Stands for parts that are nested too deep."""


_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


def _entity(octets: bytes) -> _Entity:
    if octets.startswith((b"\r\n", b"\n")):
        return _Entity(Message(), octets.lstrip(b"\r\n"))
    blank = _BLANK_LINE.search(octets)
    block, body = (octets[: blank.start()], octets[blank.end() :]) if blank else (octets, b"")
    parsed = BytesHeaderParser().parsebytes(block[:MOST_HEADER] + b"\n\n")
    if not parsed:
        return _Entity(Message(), octets)
    fields = Message()
    for name, value in parsed.raw_items():
        text = str(value)[:MOST_FIELD].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        # Where a name is there twice, the first counts.
        if name.lower() in _KEPT_FIELDS and name not in fields:
            fields[name] = text
    # Python's parser takes a line without a colon for the beginning of the body.
    early = str(parsed.get_payload()).strip().encode("utf-8", "surrogateescape")
    return _Entity(fields, early + b"\n\n" + body if early else body)


def _sections(message: _Entity) -> Iterator[str]:
    left = MOST_TEXT
    for count, part in enumerate(_parts(message, 0)):
        if count >= MOST_PARTS:
            yield f"<p>There are more than {MOST_PARTS} parts; the others are not shown.</p>"
            return
        if isinstance(part, _TooDeep):
            yield f"<p>Parts nested more than {DEEPEST} deep are not shown.</p>"
            continue
        kind = _text_kind(part)
        if kind is None:
            yield _listed(part)
            continue
        text, note = _text_of(part, kind)
        if note:
            yield f"<p>{escape(note)}</p>"
        if left:
            yield f'<pre dir="auto">{escape(_harmless(text[:left]))}</pre>'
        if len(text) > left:
            yield "<p>There is more text than is shown here.</p>"
        left -= min(left, len(text))


def _parts(entity: _Entity, depth: int) -> Iterator[_Entity | _TooDeep]:
    """The parts that hold something, depth first, read as they are asked for."""
    boundary = entity.fields.get_boundary()
    if entity.fields.get_content_maintype() != "multipart" or not boundary:
        yield entity
    elif depth >= DEEPEST:
        yield _TooDeep()
    else:
        for octets in _split(entity.body, boundary):
            yield from _parts(_entity(octets), depth + 1)


def _split(body: bytes, boundary: str) -> Iterator[bytes]:
    """What stands between the lines of a boundary (RFC 2046, section 5.1.1)."""
    quoted = re.escape(boundary.encode("utf-8", "surrogateescape"))
    start: int | None = None
    for line in re.finditer(rb"^--" + quoted + rb"(--)?[ \t]*+\r?$", body, re.MULTILINE):
        if start is not None:
            yield body[start : line.start()].removesuffix(b"\n").removesuffix(b"\r")
            if line[1]:
                return
        start = line.end() + 1
    # It does not end, or was cut off; without any boundary, all of it is text.
    yield body if start is None else body[start:]


def _text_kind(part: _Entity) -> str | None:
    """The type of text that a part is; None for what is not text, or is to be kept apart."""
    kind = part.fields.get_content_type()
    if part.fields.get_content_maintype() == "multipart":
        # It says that it has parts, and has none.
        kind = "text/plain"
    apart = str(part.fields.get("Content-Disposition", "")).lower().lstrip().startswith("attach")
    return None if apart or kind not in ("text/plain", "text/html") else kind


def _decoded(part: _Entity) -> bytes:
    """A part's octets with their transfer encoding undone, as far as it is one."""
    carrier = Message()
    carrier["Content-Transfer-Encoding"] = str(part.fields.get("Content-Transfer-Encoding", ""))
    carrier.set_payload(part.body.decode("ascii", "surrogateescape"))
    payload = carrier.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


# These are Python's own, or take quadratic time.
_UNUSED_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape"})


def _text_of(part: _Entity, kind: str) -> tuple[str, str]:
    """A part's text, and what is to be said of it first."""
    octets, note = _decoded(part), ""
    charset = part.fields.get_content_charset() or "utf-8"
    try:
        if codecs.lookup(charset).name.replace("_", "-") in _UNUSED_CHARSETS:
            raise LookupError(charset)
        text = octets.decode(charset, "replace")
    except (LookupError, ValueError):
        text = octets.decode("latin-1")
        note = f"Its character set is not known here ({display(charset)[:80]}); read as ISO 8859-1:"
    return (text_in(text) if kind == "text/html" else text), note


def _listed(part: _Entity) -> str:
    name = display(part.fields.get_filename() or "") or "without a name"
    kind = display(part.fields.get_content_type())
    return (
        f"<p>Attached: <bdi>{escape(name)}</bdi> "
        f"({escape(kind)}, {len(_decoded(part)):,} octets); it is in the source.</p>"
    )


def _field(message: Message, name: str) -> str:
    value = message.get(name)
    return display(str(value)) if value is not None else ""


def _harmless(text: str) -> str:
    """The text with nothing in it that turns it around, hides, or rings."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(map(_harmless_character, text)).strip("\n")


def _harmless_character(character: str) -> str:
    if character in "\n\t\u200c\u200d":
        return character
    match unicodedata.category(character):
        case "Zs":
            return " "
        case "Zl" | "Zp":
            return "\n"
        case "Cc" | "Cf":
            return ""
        case "Cs":
            return "\ufffd"
        case _:
            return character
