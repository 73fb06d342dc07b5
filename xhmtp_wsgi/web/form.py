"""Forms that are sent to us: how long, how many fields, and what stands in them.

Security: nothing is parsed before its length and the number of its parts are known to be small.
"""

import re
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO

from webob import Request
from webob.multidict import MultiDict

from xhmtp_wsgi.errors import MalformedRequest, TooLarge, UnsupportedType
from xhmtp_wsgi.request_body import body_pieces

MOST_OCTETS = 128 << 10  # of a form without files
MOST_FIELDS = 2000
IN_MEMORY = 1 << 20  # octets; what is larger is in a file meanwhile
PLAIN, WITH_FILES = "application/x-www-form-urlencoded", "multipart/form-data"
_BOUNDARY = re.compile(r'boundary="?([^";]{1,70})', re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with a form; ``name`` and ``type`` are the browser's words."""

    name: str
    type: str
    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form. No text has a NUL in it, which no database takes."""

    _fields: MultiDict = field(repr=False)

    def text(self, name: str, default: str = "") -> str:
        """The first text of that name, as it was typed."""
        return next(iter(self.texts(name)), default)

    def texts(self, name: str) -> list[str]:
        """All texts of that name, in their order."""
        return [
            value.replace("\0", "") for value in self._fields.getall(name) if isinstance(value, str)
        ]

    def number(self, name: str) -> int | None:
        """A whole number of that name; None for anything else."""
        return whole_number(self.text(name))

    def files(self, name: str) -> list[Upload]:
        """The files of that name, in their order; a field that was left empty is none."""
        return [
            Upload(value.filename.replace("\0", ""), value.type, value.file.read())
            for value in self._fields.getall(name)
            # A field for a file that was left empty comes as octets.
            if not isinstance(value, str | bytes) and value.filename
        ]


def whole_number(text: str) -> int | None:
    """A number as digits, below 10**15; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def read_form(request: Request, most: int) -> Form:
    """The form in a request's body, which is read for it; ``most``: its octets.

    Raises UnsupportedType, TooLarge, MalformedRequest, or as ``body_pieces`` does.
    """
    declared = request.environ.get("CONTENT_TYPE", "")
    kind = declared.partition(";")[0].strip().lower()
    if kind not in (PLAIN, WITH_FILES):
        raise UnsupportedType("a page takes forms, and nothing else")
    edge = b"&"
    if kind == WITH_FILES:
        found = _BOUNDARY.search(declared)
        if found is None:
            raise MalformedRequest("the form has no boundary")
        edge = b"--" + found[1].strip().encode("ascii", "replace")
    with SpooledTemporaryFile(max_size=IN_MEMORY) as spool:
        length = _copy(request, spool, most, edge)
        spool.seek(0)
        environ = {
            "REQUEST_METHOD": "POST",
            "CONTENT_TYPE": declared,
            "CONTENT_LENGTH": str(length),
            "wsgi.input": spool,
            "webob.is_body_seekable": True,
        }
        try:
            return Form(MultiDict(Request(environ).POST))
        except (ValueError, OSError, LookupError) as error:
            raise MalformedRequest("the form cannot be read") from error


def _copy(request: Request, spool: IO[bytes], most: int, edge: bytes) -> int:
    """Reads the body into the spool; returns its length, its parts being few enough."""
    length = parts = 0
    tail = b""
    for piece in body_pieces(request, most, "the form"):
        spool.write(piece)
        length += len(piece)
        # An edge may lie across two pieces; the tail is too short to hold one itself.
        parts += (tail + piece).count(edge)
        tail = piece[-(len(edge) - 1) :] if len(edge) > 1 else b""
        if parts > MOST_FIELDS:
            raise TooLarge("the number of fields in the form", MOST_FIELDS)
    return length
