"""Which parts of a message are shown, and which are handed out: as its author meant them to be.

Of alternatives (RFC 2046, section 5.1.4) one is shown: HTML, or plain text where that is preferred
or there is no other. Parts are numbered in the order in which they stand, so that what a page lists
is found again by its number. All of this takes linear time, whatever was sent.
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from string import ascii_letters, digits

from xhmtp_wsgi.protocol import mime_parts
from xhmtp_wsgi.protocol.composed_parts import file_name, media_type
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.mime_parts import DEEPEST, Entity, TooDeep, decoded, leaves, text_kind
from xhmtp_wsgi.protocol.signed_message import PROTOCOL

MOST_PARTS = 200
MOST_LOOKED_INTO = 20  # leaves of an alternative, to know what it is
PIECE = 3 << 16  # octets of base64 that are decoded at once
_CONTENT_ID = re.compile(rb"^content-id:[ \t]*<([^<>\s]{1,250})>", re.IGNORECASE | re.MULTILINE)
_END_OF_HEADER = re.compile(rb"^\r?$", re.MULTILINE)
_BASE64 = f"{ascii_letters}{digits}+/".encode()
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64))


@dataclass(frozen=True, slots=True)
class Part:
    """A part with its number, from 1; ``is_text``: it is shown, and not listed as attached.

    ``identifier``: of a picture, by which HTML names it (RFC 2392); else empty.
    """

    number: int
    entity: Entity = field(repr=False)
    is_text: bool
    identifier: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a message; ``too_deep``: some are nested too deep; ``more``: there are more."""

    parts: tuple[Part, ...]
    too_deep: bool
    more: bool


def parts_of(message: Entity, *, prefer_html: bool = True) -> Parts:
    """The parts, at most MOST_PARTS, without a signature of ours, which is shown as a check."""
    found: list[Part] = []
    too_deep = False
    for number, (entity, hidden) in enumerate(_walk(message, 0, prefer_html), 1):
        if number > MOST_PARTS:
            return Parts(tuple(found), too_deep, more=True)
        if isinstance(entity, TooDeep):
            too_deep = True
        elif not hidden and entity.fields.get_content_type() != PROTOCOL:
            identifier = str(entity.fields.get("Content-ID", "")).strip("<> ")
            found.append(Part(number, entity, text_kind(entity) is not None, identifier))
    return Parts(tuple(found), too_deep, more=False)


def name_of(part: Part) -> str:
    """The name under which a part can be saved."""
    given = part.entity.fields.get_filename() or ""
    if not given and part.entity.fields.get_content_type() == "message/rfc822":
        return "message.eml"
    return file_name(display(given)) if given else f"part {part.number}"


def type_of(part: Part) -> str:
    """Its media type, as it says."""
    return media_type(part.entity.fields.get_content_type())


def size_of(part: Part) -> int:
    """About how many octets it has; without decoding them."""
    body = part.entity.body
    if not _is_base64(part.entity):
        return len(body)
    return (len(body) - body.count(b"\n") - body.count(b"\r")) * 3 // 4


def octets_of(part: Part) -> list[bytes]:
    """Its octets, decoded, in pieces; the whole is in memory once, and not several times."""
    if not _is_base64(part.entity):
        return [decoded(part.entity)]
    return list(_from_base64(part.entity.body))


def _walk(entity: Entity, depth: int, prefer_html: bool) -> Iterator[tuple[Entity | TooDeep, bool]]:
    """The leaves, each with whether it is left out as another alternative is shown."""
    boundary = entity.fields.get_boundary()
    if entity.fields.get_content_maintype() != "multipart" or not boundary:
        yield entity, False
    elif depth >= DEEPEST:
        yield TooDeep(), False
    else:
        children = map(_part, mime_parts.split(entity.body, boundary))
        if entity.fields.get_content_type() == "multipart/alternative":
            yield from _alternatives(list(islice(children, MOST_PARTS)), depth, prefer_html)
        else:
            for child in children:
                yield from _walk(child, depth + 1, prefer_html)


def _part(octets: bytes) -> Entity:
    """A part, with its Content-ID where it is a picture."""
    entity = mime_parts.entity_of(octets)
    if entity.fields.get_content_maintype() == "image" and "Content-ID" not in entity.fields:
        end = _END_OF_HEADER.search(octets)
        found = _CONTENT_ID.search(octets, 0, end.start() if end else len(octets))
        if found:
            entity.fields["Content-ID"] = f"<{found[1].decode('latin-1')}>"
    return entity


def _alternatives(
    children: list[Entity], depth: int, prefer_html: bool
) -> Iterator[tuple[Entity | TooDeep, bool]]:
    chosen = _chosen([_kinds(child, depth + 1) for child in children], prefer_html)
    for place, child in enumerate(children):
        for leaf, hidden in _walk(child, depth + 1, prefer_html):
            # What is no text, as an invitation in a calendar's form, stands beside the others.
            other = place != chosen and isinstance(leaf, Entity) and text_kind(leaf) is not None
            yield leaf, hidden or other


def _chosen(kinds: list[set[str | None]], prefer_html: bool) -> int | None:
    """The last of the preferred kind; its author puts the richest last."""
    wanted = ("text/html", "text/plain") if prefer_html else ("text/plain", "text/html")
    for kind in wanted:
        for place in range(len(kinds) - 1, -1, -1):
            if kind in kinds[place]:
                return place
    return None


def _kinds(child: Entity, depth: int) -> set[str | None]:
    found = islice(leaves(child, depth), MOST_LOOKED_INTO)
    return {text_kind(leaf) for leaf in found if isinstance(leaf, Entity)}


def _is_base64(entity: Entity) -> bool:
    coding = str(entity.fields.get("Content-Transfer-Encoding", ""))
    return coding.strip().lower() == "base64"


def _from_base64(body: bytes) -> Iterator[bytes]:
    rest = b""
    for start in range(0, len(body), PIECE):
        piece = rest + body[start : start + PIECE].translate(None, _NOT_BASE64)
        whole = len(piece) // 4 * 4
        yield binascii.a2b_base64(piece[:whole])
        rest = piece[whole:]
    if len(rest) > 1:
        yield binascii.a2b_base64(rest + b"=" * (4 - len(rest)))
