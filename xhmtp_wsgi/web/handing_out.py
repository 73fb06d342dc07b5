"""Parts and sources of messages, handed out as files: nothing of them can run in the site's origin.

Security: always as an attachment (the source: as plain text), never sniffed, in a sandbox without
anything, and under a type from a short list or as octets.
"""

import re
from collections.abc import Sequence
from urllib.parse import quote

from webob import Response

from xhmtp_wsgi.errors import NotFound
from xhmtp_wsgi.protocol.mime_parts import entity_of
from xhmtp_wsgi.protocol.sealed_message import TYPE
from xhmtp_wsgi.responses import response
from xhmtp_wsgi.web.shown_parts import name_of, octets_of, parts_of, type_of

OCTETS = "application/octet-stream"
TYPES = frozenset(
    {
        "application/pdf", "application/zip", "audio/mpeg", "audio/ogg", "image/gif", "image/jpeg",
        "image/png", "image/webp", "message/rfc822", "text/calendar", "text/csv", "text/plain",
        "video/mp4", "video/webm",
    }
)  # fmt: skip
_HEADERS = {"Cache-Control": "no-store", "Vary": "Authorization, Cookie"}
_PLAIN = re.compile(r"[^A-Za-z0-9 ._-]")


def handed_out(octets: bytes, number: str) -> Response:
    """A part of a message by its number, as a file. Raises NotFound."""
    wanted = int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 0
    for part in parts_of(entity_of(octets)).parts:
        if part.number == wanted:
            kind = type_of(part)
            return _file(octets_of(part), name_of(part), kind if kind in TYPES else OCTETS)
    raise NotFound("the message has no such part")


def source(octets: bytes) -> Response:
    """The message as it is, as text to be looked at."""
    return response(
        200, octets, "text/plain; charset=utf-8", {**_HEADERS, "Content-Disposition": "inline"}
    )


def whole(octets: bytes, identifier: str) -> Response:
    """The message as it is, as a file that mail programs open."""
    return _file([octets], f"{identifier}.eml", "message/rfc822")


def age_file(octets: bytes, identifier: str) -> Response:
    """A sealed message as it came, as a file that age opens."""
    return _file([octets], f"{identifier}.age", TYPE)


def _file(pieces: Sequence[bytes], name: str, kind: str) -> Response:
    plain = _PLAIN.sub("_", name)
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
    answer = response(200, b"", kind, {**_HEADERS, "Content-Disposition": disposition})
    answer.app_iter = pieces
    answer.content_length = sum(map(len, pieces))
    return answer
