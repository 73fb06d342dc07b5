"""The parts of a message that strangers wrote, for whatever shows them: what they are, their text.

Whatever was sent takes linear time. Python's parser of mail is quadratic in places (parts in parts,
parameters), so parts are split here.
"""

import codecs
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser

from xhmtp_wsgi.protocol.header_values import display

DEEPEST = 10
MOST_HEADER = 64 << 10  # octets of a part's header block that are looked at
# Python finds a field's parameters in quadratic time.
MOST_FIELD = 4 << 10  # characters of a field that are looked at
_KEPT_FIELDS = {
    "from",
    "to",
    "cc",
    "date",
    "subject",
    "content-type",
    "content-disposition",
    "content-transfer-encoding",
}


@dataclass(frozen=True, slots=True)
class Entity:
    """A message or a part of one: its fields, and its body as it was sent."""

    fields: Message
    body: bytes


class TooDeep:
    """Stands for parts that are nested too deep."""


_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


def entity_of(octets: bytes) -> Entity:
    """A message, or a part of one. Never raises but for what surprises Python's parser."""
    if octets.startswith((b"\r\n", b"\n")):
        return Entity(Message(), octets.lstrip(b"\r\n"))
    blank = _BLANK_LINE.search(octets)
    block, body = (octets[: blank.start()], octets[blank.end() :]) if blank else (octets, b"")
    parsed = BytesHeaderParser().parsebytes(block[:MOST_HEADER] + b"\n\n")
    if not parsed:
        return Entity(Message(), octets)
    fields = Message()
    for name, value in parsed.raw_items():
        text = str(value)[:MOST_FIELD].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        # Where a name is there twice, the first counts.
        if name.lower() in _KEPT_FIELDS and name not in fields:
            fields[name] = text
    # Python's parser takes a line without a colon for the beginning of the body.
    early = str(parsed.get_payload()).strip().encode("utf-8", "surrogateescape")
    return Entity(fields, early + b"\n\n" + body if early else body)


def leaves(entity: Entity, depth: int = 0) -> Iterator[Entity | TooDeep]:
    """The parts that hold something, depth first, read as they are asked for."""
    boundary = entity.fields.get_boundary()
    if entity.fields.get_content_maintype() != "multipart" or not boundary:
        yield entity
    elif depth >= DEEPEST:
        yield TooDeep()
    else:
        for octets in split(entity.body, boundary):
            yield from leaves(entity_of(octets), depth + 1)


def split(body: bytes, boundary: str) -> Iterator[bytes]:
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


def text_kind(part: Entity) -> str | None:
    """The type of text that a part is; None for what is not text, or is to be kept apart."""
    kind = part.fields.get_content_type()
    if part.fields.get_content_maintype() == "multipart":
        # It says that it has parts, and has none.
        kind = "text/plain"
    apart = str(part.fields.get("Content-Disposition", "")).lower().lstrip().startswith("attach")
    return None if apart or kind not in ("text/plain", "text/html") else kind


def decoded(part: Entity) -> bytes:
    """A part's octets with their transfer encoding undone, as far as it is one."""
    carrier = Message()
    carrier["Content-Transfer-Encoding"] = str(part.fields.get("Content-Transfer-Encoding", ""))
    carrier.set_payload(part.body.decode("ascii", "surrogateescape"))
    payload = carrier.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


# These are Python's own, or take quadratic time.
_UNUSED_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape"})


def text_of(part: Entity) -> tuple[str, str]:
    """A part's text, and what is to be said of it first."""
    octets, note = decoded(part), ""
    charset = part.fields.get_content_charset() or "utf-8"
    try:
        if codecs.lookup(charset).name.replace("_", "-") in _UNUSED_CHARSETS:
            raise LookupError(charset)
        text = octets.decode(charset, "replace")
    except (LookupError, ValueError):
        text = octets.decode("latin-1")
        note = f"Its character set is not known here ({display(charset)[:80]}); read as ISO 8859-1:"
    return text, note


def harmless(text: str) -> str:
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
