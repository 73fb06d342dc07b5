"""A message as programs pipe it into sendmail: a header that need not be one, and a body.

What injection would refuse, and sendmail takes, is mended here: no header at all, a line "From "
of a mailbox file, names without a domain, Latin-1, control characters, line ends of both kinds.
The body passes through in pieces.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from xhmtp_wsgi.errors import MalformedAddress, MalformedMessage
from xhmtp_wsgi.protocol.encoded_fields import mailboxes_field
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.mailbox_list import Mailbox, header_mailboxes
from xhmtp_wsgi.request_body import PIECE

MOST_HEADER = 1 << 20  # octets
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_ADDRESSED = (
    "from", "sender", "reply-to", "to", "cc", "bcc", "resent-from", "resent-sender", "resent-to",
    "resent-cc", "resent-bcc",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PipedMessage:
    """The message. ``fields``: each with its line end of Unix; ``start``: of the body."""

    fields: tuple[bytes, ...]
    author: Mailbox | None
    recipients: tuple[Endpoint, ...]
    start: bytes
    rest: BinaryIO
    dot_ends: bool

    def written_by(self, author: Mailbox) -> "PipedMessage":
        """The same with that author in From."""
        field = _unix(mailboxes_field("From", [author]))
        return replace(self, fields=(field, *self.fields), author=author)

    def octets(self) -> Iterator[bytes]:
        """All of it, once, in pieces."""
        yield b"".join(self.fields) + b"\n"
        if not self.dot_ends:
            yield self.start
            while piece := self.rest.read(PIECE):
                yield piece
            return
        piece, begins_line = self.start, True
        while piece and not (begins_line and piece.rstrip(b"\r\n") == b"."):
            yield piece
            begins_line = piece.endswith(b"\n")
            piece = self.rest.readline(PIECE)


def read_message(file: BinaryIO, domain: str, *, dot_ends: bool) -> PipedMessage:
    """Reads the header, and leaves the body to come. ``domain``: that of names without one.

    Raises MalformedMessage, or MalformedAddress.
    """
    raw, start = _header(file)
    fields: list[bytes] = []
    found: dict[str, list[Mailbox]] = {}
    for octets in raw:
        text = _decoded(octets)
        name = text.partition(":")[0].rstrip()
        if name.lower() in _ADDRESSED:
            text, mailboxes = _addressed(name, text.partition(":")[2], domain)
            found.setdefault(name.lower(), []).extend(mailboxes)
        if text:
            fields.append(text.encode())
    authors = found.get("from", [])
    return PipedMessage(
        tuple(fields),
        authors[0] if authors else None,
        tuple(one.endpoint for name in ("to", "cc", "bcc") for one in found.get(name, [])),
        start,
        file,
        dot_ends,
    )


def _addressed(name: str, value: str, domain: str) -> tuple[str, tuple[Mailbox, ...]]:
    """A field of addresses, and what is in it; an empty one is no field."""
    unfolded = value.replace("\n", "")
    try:
        mailboxes = header_mailboxes(unfolded)
        text = f"{name}:{value}"
    except MalformedAddress:
        mailboxes = header_mailboxes(unfolded, domain)
        text = _unix(mailboxes_field(name, mailboxes)).decode("ascii")
    return (text if mailboxes else ""), mailboxes


def _header(file: BinaryIO) -> tuple[list[bytes], bytes]:
    """The fields, each with its folds, and the first line of the body."""
    fields: list[bytes] = []
    read = 0
    while line := file.readline(MOST_HEADER):
        read += len(line)
        if read >= MOST_HEADER:
            raise MalformedMessage(f"the header has more than {MOST_HEADER} octets")
        if not fields and line.startswith((b"From ", b">From ")):
            continue
        if not line.strip(b"\r\n"):
            return fields, file.readline(PIECE)
        if fields and line[:1] in (b" ", b"\t"):
            if line.strip():
                fields[-1] += line
        elif _FIELD.match(line):
            fields.append(line)
        else:
            # No header, or the end of one that has no empty line behind it.
            return fields, line
    return fields, b""


def _decoded(octets: bytes) -> str:
    """A field as text, with the line ends of Unix."""
    octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b" ")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    text = _CONTROL.sub(" ", text)
    return text if text.endswith("\n") else text + "\n"


def _unix(field: bytes) -> bytes:
    return field.replace(b"\r\n", b"\n")
