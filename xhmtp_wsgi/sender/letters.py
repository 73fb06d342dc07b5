"""Letters: what notifications tell of a message, made once for all whom they tell of it.

The notifier has the letters of what it has just claimed read in a few statements, and kept as far
as their octets are bounded; one that was let go meanwhile is read again.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeAlias
from urllib.parse import quote_plus

from sqlalchemy import Connection, bindparam, select

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Transient
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.message import author_of
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.notification import header_block_for
from xhmtp_wsgi.sender.queue import Claim
from xhmtp_wsgi.sender.tables import messages, representations

READ_AT_ONCE = 16  # messages: each header may have a MiB
OCTETS_KEPT = 2 << 20  # of all letters
OWN_OCTETS = 512  # what a letter takes beside its header block

# As long as an address can be; no header block that was scanned has a NUL.
_ANYBODY = Endpoint("\0" * 64, "\0" * 189)

_MESSAGES = select(
    messages.c.id,
    messages.c.sender,
    messages.c.header,
    messages.c.size,
    messages.c.digest,
    messages.c.expires_at,
    messages.c.alias,
    messages.c.sealed,
).where(messages.c.id.in_(bindparam("ids", expanding=True)))
_REPRESENTATIONS = select(representations).where(
    representations.c.message.in_(bindparam("ids", expanding=True)),
    representations.c.number.in_(bindparam("numbers", expanding=True)),
)

_UNSAFE = re.compile(rb"[^A-Za-z0-9_.~-]")
_QUOTED = {bytes([octet]): quote_plus(bytes([octet])).encode("ascii") for octet in range(256)}

Key: TypeAlias = tuple[str, int]
"""A message, and which of its representations; 0 is what its own row tells."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What a notification tells of a message, or of one of its representations."""

    sender: Endpoint
    path_name: str
    is_sealed: bool
    """Can nobody but its recipients read it? (docs/protocol.md, section 11)"""
    is_anonymous: bool
    header: tuple[str, ...]
    """The header block, quoted for a form; in two where the recipient stands between them."""

    def form(self, url: MessageURL) -> bytes:
        """What tells a recipient of it: protocol/notification.py's encode(), from ready parts."""
        headers = self.headers_for(url.recipient)
        return f"url={quote_plus(url.with_credentials())}&headers={headers}".encode("ascii")

    def headers_for(self, recipient: Endpoint) -> str:
        """The header block that tells a recipient of it, quoted for a form."""
        return quote_plus(str(recipient)).join(self.header)


class Letters:
    """The letters of one pass; safe to be used by several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Letter] = OrderedDict()
        self._octets = 0

    def prepare(self, claims: Iterable[Claim]) -> None:
        """Reads what these tell of; whatever cannot be had shows when it is asked for."""
        self.found(claims)

    def found(self, claims: Iterable[Claim]) -> dict[Key, Letter]:
        """The letters of these as far as they can be had; what is not kept is read together."""
        wanted = dict.fromkeys((claim.message, claim.representation) for claim in claims)
        with self._lock:
            found = {key: self._kept[key] for key in wanted if key in self._kept}
        missing = iter([key for key in wanted if key not in found])
        while some := list(islice(missing, READ_AT_ONCE)):
            try:
                with self._database.reading() as connection:
                    rows = _rows(connection, some)
            except Transient:
                break
            for key, (message, content) in rows.items():
                try:
                    found[key] = letter_of(message, content)
                except Exception:  # noqa: S112 - of() raises it, for those entries alone
                    continue
                self._keep(key, found[key])
        return found

    def of(self, claim: Claim) -> Letter:
        """What that entry's recipient is told. Raises LookupError where there is no message."""
        key = claim.message, claim.representation
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            with self._database.reading() as connection:
                message, content = _rows(connection, [key])[key]
            found = letter_of(message, content)
            self._keep(key, found)
        return found

    def _keep(self, key: Key, letter: Letter) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = letter
                self._octets += _octets(letter)
            while self._octets > OCTETS_KEPT:
                self._octets -= _octets(self._kept.popitem(last=False)[1])


def letter_of(message: Any, content: Any) -> Letter:
    """The letter of a message's row, and of that of the representation: the same for number 0."""
    sender = Endpoint.parse(message.sender)
    path_name = message.alias or sender.local
    if message.alias is not None:
        # Where she writes as an alias, it is the alias' domain that tells of the message.
        sender = author_of(message.header) or sender
    fields = scan(content.header.removesuffix(b"\r\n"), len(content.header))
    block = header_block_for(
        fields,
        size=content.size,
        digest=content.digest,
        expires=datetime.fromtimestamp(message.expires_at, UTC),
        recipient=_ANYBODY,
    )
    return Letter(
        sender,
        path_name,
        is_sealed=content.sealed is not None,
        is_anonymous=not any(field.name.lower() == "from" for field in fields),
        header=tuple(_quoted(part) for part in block.split(str(_ANYBODY).encode("ascii"))),
    )


def _rows(connection: Connection, keys: Sequence[Key]) -> dict[Key, tuple[Any, Any]]:
    """The rows of messages and of their representations, of those that are there."""
    found = connection.execute(_MESSAGES, {"ids": list({message for message, _ in keys})})
    rows = {row.id: row for row in found}
    several = [key for key in keys if key[1]]
    contents: dict[Key, Any] = {(message, 0): row for message, row in rows.items()}
    if several:
        asked = {
            "ids": list({message for message, _ in several}),
            "numbers": list({number for _, number in several}),
        }
        for row in connection.execute(_REPRESENTATIONS, asked):
            contents[row.message, row.number] = row
    return {key: (rows[key[0]], contents[key]) for key in keys if key in contents}


def _quoted(octets: bytes) -> str:
    """quote_plus(), which goes octet by octet, in a third of its time."""
    return _UNSAFE.sub(lambda found: _QUOTED[found[0]], octets).decode("ascii")


def _octets(letter: Letter) -> int:
    return OWN_OCTETS + sum(len(part) for part in letter.header)
