"""A message as it is handed in, made fit to be stored (docs/protocol.md, section 4).

The header block is scanned, `Date` and `Message-ID` are added where missing, `Bcc` is taken out;
every other octet of it stays as it is, and the body is never looked at. A message whose header has
no CR at all is a Unix text file: its line ends are made CRLF, in the header and in the body.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from xhmtp_wsgi.errors import MalformedMessage
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import Field, scan
from xhmtp_wsgi.protocol.header_values import addresses
from xhmtp_wsgi.protocol.sealed_message import (
    is_sealed_type,
    outer_fields,
    require_untouched_body,
)

MAX_MESSAGE_ID = 250  # octets
_MESSAGE_ID = re.compile(r"<[!-;=?-~]+>")
_LEFT_OUT = ("bcc", "resent-bcc")


@dataclass(frozen=True, slots=True)
class Preamble:
    """All that comes before the body, and what it says.

    ``header``: as stored, with the blank line; ``sender``: the one address in From, if there is
    From; ``recipients``: those of To, Cc and Bcc, each once; ``visible``: those whom the others
    may see; ``is_sealed``: its author has sealed it, and ``header`` is the outer one.
    """

    fields: tuple[Field, ...]
    header: bytes
    sender: Endpoint | None
    recipients: tuple[Endpoint, ...]
    message_id: str
    unix_newlines: bool
    visible: tuple[Endpoint, ...] = ()
    is_sealed: bool = False


def split_header(buffer: bytes) -> int | None:
    """Where the body begins in the first octets of a message; None if that is further on."""
    ends = [at + len(blank) for blank in (b"\r\n\r\n", b"\n\n") if (at := buffer.find(blank)) >= 0]
    return min(ends) if ends else None


def prepare(
    block: bytes,
    *,
    now: datetime,
    domain: str,
    new_identifier: Callable[[], str],
    limit: int,
) -> Preamble:
    """Makes a header block, with or without its blank line, fit to be stored.

    ``domain`` and ``new_identifier`` make a Message-ID. Raises MalformedMessage or TooLarge.
    """
    unix_newlines = b"\r" not in block
    blank = b"\n" if unix_newlines else b"\r\n"
    if block.endswith(blank + blank):
        block = block[: -len(blank)]
    given = scan(block, limit, allow_bare_newlines=True)
    if not given:
        raise MalformedMessage("the message has no header")
    fields = [field for field in given if field.name.lower() not in _LEFT_OUT]
    by_name = {field.name.lower(): field for field in given}
    if "date" not in by_name:
        fields.append(_made("Date", format_datetime(now)))
    if "message-id" not in by_name:
        fields.append(_made("Message-ID", f"<{new_identifier()}@{domain}>"))
    message_id = next(field.value for field in fields if field.name.lower() == "message-id")
    if not _MESSAGE_ID.fullmatch(message_id) or len(message_id) > MAX_MESSAGE_ID:
        raise MalformedMessage(f"Message-ID is not <...> of at most {MAX_MESSAGE_ID} octets")
    sealed = "content-type" in by_name and is_sealed_type(by_name["content-type"].value)
    if sealed:
        require_untouched_body(fields)
        fields = list(outer_fields(fields, subject=True))
    sender = _author(by_name.get("from"))
    visible = _recipients(by_name, ("to", "cc"))
    return Preamble(
        fields=tuple(fields),
        header=b"".join(field.raw for field in fields) + b"\r\n",
        sender=sender,
        recipients=_recipients(by_name, ("bcc",), visible) if "bcc" in by_name else visible,
        message_id=message_id,
        unix_newlines=unix_newlines,
        visible=visible,
        is_sealed=sealed,
    )


def author_of(start: bytes) -> Endpoint | None:
    """The one address in From, by the first octets of a message; None where it has no From.

    ``start``: at least its header block. Raises MalformedMessage.
    """
    block = start[: split_header(start) or len(start)].rstrip(b"\r\n")
    fields = scan(block, len(block), allow_bare_newlines=True)
    return _author(next((field for field in fields if field.name.lower() == "from"), None))


class NewlineConverter:
    """Makes the line ends of a Unix text file CRLF, piece by piece."""

    def __init__(self) -> None:
        self._after_cr = False

    def feed(self, piece: bytes) -> bytes:
        """The next piece with its bare LF made CRLF; a CRLF that is there stays."""
        if not piece:
            return piece
        first_is_ended = self._after_cr and piece[:1] == b"\n"
        self._after_cr = piece[-1:] == b"\r"
        if first_is_ended:
            return b"\n" + _bare.sub(b"\r\n", piece[1:])
        return _bare.sub(b"\r\n", piece)


_bare = re.compile(rb"(?<!\r)\n")


def _made(name: str, value: str) -> Field:
    return Field(name, value, f"{name}: {value}\r\n".encode("ascii"))


def _author(field: Field | None) -> Endpoint | None:
    if field is None:
        return None
    found = addresses(field.value)
    if len(found) != 1:
        raise MalformedMessage(f"From has {len(found)} addresses; one author is what can be kept")
    return found[0]


def _recipients(
    by_name: dict[str, Field], names: tuple[str, ...], before: tuple[Endpoint, ...] = ()
) -> tuple[Endpoint, ...]:
    """Those before, and those of the fields of these names, each once."""
    found = {str(endpoint): endpoint for endpoint in before}
    for name in names:
        if name in by_name:
            for endpoint in addresses(by_name[name].value):
                found.setdefault(str(endpoint), endpoint)
    return tuple(found.values())
