"""Mailboxes: addresses with the names of their owners, as people type them and headers have them.

Security: a list from a header is taken apart first and decoded afterwards: an encoded word may hold
commas and angle brackets, and is no more than a name for that.
"""

import re
from dataclasses import dataclass

from xhmtp_wsgi.errors import MalformedAddress
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display

MAX_NAME = 200  # characters
# One token at a time, so that no input takes more than linear time.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(")?|[(),:;<>"\\]|[^(),:;<>"\\]+', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NEEDS_QUOTES = re.compile(r'[(),:;<>@\[\]\\".]')


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address, and the name before it, which may be empty."""

    name: str
    endpoint: Endpoint

    def __str__(self) -> str:
        """As people type it: ``Alice <alice@a.example>``."""
        if not self.name:
            return str(self.endpoint)
        name = self.name
        if _NEEDS_QUOTES.search(name):
            name = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return f"{name} <{self.endpoint}>"


def typed_mailboxes(text: str, domain: str = "") -> tuple[Mailbox, ...]:
    """Those that somebody has typed, with commas, semicolons or line ends between them.

    ``domain``: that of names without one. Raises MalformedAddress, naming what is no address.
    """
    return tuple(
        Mailbox(mailbox.name[:MAX_NAME].rstrip(), mailbox.endpoint)
        for mailbox in _parsed(re.sub(r"[\r\n]+", ", ", text), domain)
    )


def header_mailboxes(value: str, domain: str = "") -> tuple[Mailbox, ...]:
    """Those in a field as it stands in a header block, not decoded.

    ``domain``: that of names without one. Raises MalformedAddress.
    """
    return tuple(
        Mailbox(display(mailbox.name)[:MAX_NAME].rstrip(), mailbox.endpoint)
        for mailbox in _parsed(value, domain)
    )


@dataclass(slots=True)
class _Entry:
    """One of the list, as far as it has been read; ``address``: None outside angle brackets."""

    domain: str
    phrase: str = ""
    comment: str = ""
    address: str | None = None
    closed: bool = False

    def add(self, text: str) -> None:
        if self.address is None:
            self.phrase += text
        elif not self.closed:
            self.address += text
        elif text.strip():
            raise MalformedAddress(f"something stands behind an address: {display(text)[:80]!r}")

    def open(self) -> None:
        if self.address is not None:
            raise MalformedAddress("an address has two angle brackets before it")
        self.address = ""

    def close(self) -> None:
        if self.address is None or self.closed:
            raise MalformedAddress("an angle bracket is closed that was not opened")
        self.closed = True

    def mailbox(self) -> Mailbox | None:
        if self.address is not None and not self.closed:
            raise MalformedAddress("an angle bracket is not closed")
        if self.address is None and not self.phrase.strip():
            return None
        address = (self.phrase if self.address is None else self.address).strip()
        # An old way to write a name: root (Cron Daemon)
        name = self.comment if self.address is None else self.phrase
        if self.domain and address and "@" not in address:
            address = f"{address}@{self.domain}"
        try:
            return Mailbox(" ".join(name.split()), Endpoint.parse(address))
        except MalformedAddress as error:
            raise MalformedAddress(f"not an address: {display(address)[:80]!r}: {error}") from None


def _parsed(value: str, domain: str) -> tuple[Mailbox, ...]:
    """The list's entries; the names of groups are left out (RFC 5322, section 3.4)."""
    entries = [_Entry(domain)]
    comment = 0
    in_group = False
    for found in _TOKEN.finditer(value):
        piece, entry = found[0], entries[-1]
        inside = entry.address is not None and not entry.closed
        if piece == "(":
            comment += 1
        elif comment:
            comment -= piece == ")"
            entry.comment += piece if comment else ""
        elif piece == "<":
            entry.open()
        elif piece == ">":
            entry.close()
        elif piece in (",", ";"):
            in_group = in_group and piece != ";"
            entries.append(_Entry(domain))
        elif piece == ":" and not inside and not in_group:
            in_group = True
            entries[-1] = _Entry(domain)
        elif piece[0] == '"':
            if found[1] is None:
                raise MalformedAddress("a list of addresses has a quoted string that does not end")
            entry.add(_ESCAPED.sub(r"\1", piece[1:-1]))
        else:
            entry.add(piece)
    if comment:
        raise MalformedAddress("a list of addresses has a comment that does not end")
    mailboxes = (entry.mailbox() for entry in entries)
    return tuple(mailbox for mailbox in mailboxes if mailbox is not None)
