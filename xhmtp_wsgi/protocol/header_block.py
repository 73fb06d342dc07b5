"""The header block of a message (RFC 5322), by a strict scanner of octets.

Python's email parser takes a bare CR for the end of a line, takes NUL, and silently ends the header
at a line without a colon: so nothing reaches it, or anybody else, that was not scanned here first.

Security: what `scan` lets through has CRLF line ends only, no control character but HTAB, and is
UTF-8 (RFC 6532); its fields written one after another are the block again.
"""

import re
from dataclasses import dataclass

from xhmtp_wsgi.errors import MalformedMessage, TooLarge

MAX_LINE = 998  # octets (RFC 5322, section 2.1.1)
MAX_FIELDS = 200
ONCE = frozenset(
    {
        "date",
        "from",
        "sender",
        "reply-to",
        "to",
        "cc",
        "bcc",
        "message-id",
        "in-reply-to",
        "references",
        "subject",
        "content-type",
        "mime-version",
        "content-length",
        "repr-digest",
        "expires",
    }
)
_NAME = re.compile(rb"[!-9;-~]+")
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_C1 = re.compile("[\x80-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its value unfolded and stripped; ``raw`` as it stood, with folds and CRLF."""

    name: str
    value: str
    raw: bytes


def scan(
    block: bytes,
    limit: int,
    *,
    allow_bare_newlines: bool = False,
    max_fields: int = MAX_FIELDS,
) -> tuple[Field, ...]:
    """The fields of a header block, which has no blank line at its end.

    ``allow_bare_newlines``: a block with no CR at all is a Unix text file, its LF taken as CRLF.
    Raises TooLarge over ``limit`` octets, MalformedMessage for all else, naming the line.
    """
    if len(block) > limit:
        raise TooLarge("the header block", limit)
    if allow_bare_newlines and b"\r" not in block:
        block = block.replace(b"\n", b"\r\n")
    if block and not block.endswith(b"\r\n"):
        block += b"\r\n"
    fields = [_field(number, raw) for number, raw in _raw_fields(block)]
    if len(fields) > max_fields:
        raise MalformedMessage(f"the header block has more than {max_fields} fields")
    seen: set[str] = set()
    for field in fields:
        name = field.name.lower()
        if name in ONCE and name in seen:
            raise MalformedMessage(f"the field {field.name} is there twice")
        seen.add(name)
    return tuple(fields)


def _raw_fields(block: bytes) -> list[tuple[int, bytes]]:
    """Each field with its continuation lines, and the number of its first line."""
    found: list[tuple[int, list[bytes]]] = []
    for number, line in enumerate(block.split(b"\r\n")[:-1], 1):
        _check_line(number, line)
        if line[:1] not in (b" ", b"\t"):
            found.append((number, [line]))
        elif not found:
            raise MalformedMessage("the header block begins with a continuation line")
        elif not line.strip():
            raise MalformedMessage(f"line {number} of the header block is only white space")
        else:
            found[-1][1].append(line)
    return [(number, b"\r\n".join(lines) + b"\r\n") for number, lines in found]


def _check_line(number: int, line: bytes) -> None:
    where = f"line {number} of the header block"
    if not line:
        raise MalformedMessage(f"{where} is empty")
    if len(line) > MAX_LINE:
        raise MalformedMessage(f"{where} has more than {MAX_LINE} octets")
    if b"\r" in line or b"\n" in line:
        raise MalformedMessage(f"{where} has a bare CR or LF")
    if _FORBIDDEN.search(line):
        raise MalformedMessage(f"{where} has a control character")


def _field(number: int, raw: bytes) -> Field:
    name, colon, value = raw.partition(b":")
    if not colon or not _NAME.fullmatch(name):
        raise MalformedMessage(f"line {number} of the header block is not 'Name: value'")
    try:
        text = value.replace(b"\r\n", b"").decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedMessage(f"line {number} of the header block is not UTF-8") from None
    if _C1.search(text):
        raise MalformedMessage(f"line {number} of the header block has a control character")
    return Field(name.decode("ascii"), text.strip(" \t"), raw)
