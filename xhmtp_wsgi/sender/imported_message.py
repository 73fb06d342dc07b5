"""A message of an export, in all its representations, checked before anything is written.

Its recipients are checked in imported_recipients.py.

Security: the files may come from anybody. A message meets the checks of injection again: what is
queued here is told, and signed, in the domain's name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO, TypeAlias

from xhmtp_wsgi.errors import Malformed, SettingsError, XHMTPError
from xhmtp_wsgi.protocol.access_code import is_identifier
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.message import MAX_MESSAGE_ID, Preamble, prepare, split_header
from xhmtp_wsgi.protocol.sealing import HYBRID, X25519, is_sealed
from xhmtp_wsgi.sender.failure_notice import LOCAL
from xhmtp_wsgi.sender.outbox_transfer import MESSAGE, REPRESENTATION
from xhmtp_wsgi.sender.sealing import BY_CLIENT
from xhmtp_wsgi.sender.tables import PIECE
from xhmtp_wsgi.settings import Settings
from xhmtp_wsgi.verified_file import verified

DIGEST = 32  # octets
LONGEST_THREAD = 100  # characters
ADDED = 1 << 10  # octets of the fields that injection may have added to a header
MOST_OCTETS = (1 << 63) - 1  # of all that is kept of a message: what the database can count
_DEFAULTS = {"is_report": False}  # of a field that may be missing
_SEALED_TO = (X25519, HYBRID, BY_CLIENT)
_LOOKED_AT = 2048  # octets in which an age file shows that it is one

File: TypeAlias = Callable[[], AbstractContextManager[BinaryIO]]
"""A file, which is opened, and read from its beginning, as often as it is asked for."""
Files: TypeAlias = Callable[[str, int, bool], File]
"""Gives the file of a representation: by the message's ID, its number, and whether it is sealed."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """Whose messages are taken in, and what may be; ``now``: seconds since the epoch."""

    owner: Endpoint
    settings: Settings
    now: float


@dataclass(frozen=True, slots=True)
class CheckedRepresentation:
    """A representation whose fields are in order; its octets are still to be compared.

    ``file``: None where they are let go.
    """

    message: str
    number: int
    header: bytes = field(repr=False)
    digest: bytes
    size: int
    sealed: str | None
    file: File | None

    def pieces(self) -> Iterator[bytes]:
        """The octets in pieces. Raises Malformed at their end where they are not those told of."""
        if self.file is None:
            return
        with self.file() as octets:
            yield from verified(
                octets,
                size=self.size,
                digest=self.digest,
                what=f"the message {name_of(self.message, self.number)}",
                piece=PIECE,
            )


@dataclass(frozen=True, slots=True)
class CheckedMessage:
    """A message whose fields are in order.

    ``values``: its row, which tells of the first of its representations; ``preamble``: of that one.
    """

    values: dict[str, Any] = field(repr=False)
    preamble: Preamble
    representations: tuple[CheckedRepresentation, ...]

    @property
    def identifier(self) -> str:
        """Its ID."""
        return str(self.values["id"])

    @property
    def has_octets(self) -> bool:
        """Are they not let go?"""
        return self.values["emptied_at"] is None

    @property
    def kept(self) -> int:
        """The octets of all its representations."""
        return sum(one.size for one in self.representations)


def name_of(identifier: str, number: int) -> str:
    """What a representation is called in an export: the first one is the message."""
    return f"{identifier}-{number}" if number else identifier


def checked_message(
    outbox: Outbox, fields: Mapping[str, Any], further: Iterable[Mapping[str, Any]], files: Files
) -> CheckedMessage:
    """The message that these fields tell of.

    ``further``: what is told of its representations beside the first. Raises Malformed, or
    SettingsError for one that is too large for the settings.
    """
    values = {**_DEFAULTS, **MESSAGE.decode(fields)}
    identifier = values["id"]
    if not is_identifier(identifier) or len(values["digest"]) != DIGEST:
        raise Malformed(f"message: {identifier[:50]!r} is no ID, or its digest none")
    has_octets = values["emptied_at"] is None
    is_in_clear = values["sealed"] is None
    if (has_octets and is_in_clear) == ("header" in values):
        raise Malformed(f"the message {identifier} is not there, or is not to be there")
    file = files(identifier, 0, not is_in_clear) if has_octets else None
    if file is not None and is_in_clear:
        values["header"] = _header(outbox, identifier, file)
    if len(values["thread"] or "") > LONGEST_THREAD:
        raise Malformed(f"the message {identifier} has no such conversation")
    try:
        preamble = _prepared(outbox, identifier, values["header"], values["sealed"])
        _require_own(outbox, values, preamble)
    except XHMTPError as error:
        raise Malformed(f"the message {identifier}: {error}") from None
    first = CheckedRepresentation(
        identifier, 0, values["header"], values["digest"], values["size"], values["sealed"], file
    )
    _check_octets(outbox, first)
    others = _further(outbox, first, preamble, further, files if has_octets else None)
    message = CheckedMessage(values, preamble, (first, *others))
    if message.kept > MOST_OCTETS:
        raise Malformed(f"the message {identifier} is larger than can be")
    values["kept_octets"] = message.kept if len(message.representations) > 1 else None
    return message


def _further(
    outbox: Outbox,
    first: CheckedRepresentation,
    preamble: Preamble,
    given: Iterable[Mapping[str, Any]],
    files: Files | None,
) -> Iterator[CheckedRepresentation]:
    """The representations beside the first. ``files``: None where their octets are let go."""
    # All that is sealed of a message has the same header outside: it is kept once, and looked at
    # once, however many recipients of Bcc there are.
    outer = None if first.sealed is None else first.header
    for number, fields in enumerate(given, 1):
        values = REPRESENTATION.decode(fields)
        if (values["message"], values["number"]) != (first.message, number):
            raise Malformed(f"the representations of {first.message} are not in their order")
        if number > outbox.settings.max_recipients:
            raise SettingsError("max_recipients", f"{first.message} has more representations")
        name = name_of(first.message, number)
        if values["sealed"] is None or len(values["digest"]) != DIGEST:
            raise Malformed(f"the message {name} is not sealed, or its digest is none")
        if outer is None:
            outer = values["header"]
            _check_outer(outbox, first.message, outer, values["sealed"], preamble)
        if values["header"] != outer:
            raise Malformed(f"the message {name} has another header than those sealed beside it")
        file = None if files is None else files(first.message, number, True)
        one = CheckedRepresentation(
            first.message, number, outer, values["digest"], values["size"], values["sealed"], file
        )
        _check_octets(outbox, one)
        yield one


def _check_octets(outbox: Outbox, one: CheckedRepresentation) -> None:
    """Raises Malformed where what is to be sealed is not, SettingsError where it is too large."""
    name = name_of(one.message, one.number)
    if one.sealed not in (None, *_SEALED_TO):
        raise Malformed(f"the message {name} is sealed to what is not known here")
    if one.file is None:
        return
    limit = outbox.settings.max_message_size
    # As injection has it: what the agent's own sealing adds is not her doing.
    if one.size > (limit if one.sealed in (None, BY_CLIENT) else 2 * limit):
        raise SettingsError("max_message_size", f"{name} has {one.size} octets")
    if one.sealed is not None:
        with one.file() as octets:
            if not is_sealed(octets.read(_LOOKED_AT)):
                raise Malformed(f"the message {name} is to be sealed, and its file is no age file")


def _header(outbox: Outbox, identifier: str, file: File) -> bytes:
    with file() as octets:
        start = octets.read(outbox.settings.max_header_size + ADDED)
    end = split_header(start)
    if end is None:
        raise SettingsError("max_header_size", f"the header of {identifier} is larger")
    return start[:end]


def _prepared(outbox: Outbox, identifier: str, header: bytes, sealed: str | None) -> Preamble:
    """What the header says, if it is one that injection has stored. Raises Malformed or so."""
    preamble = prepare(
        header,
        now=datetime.fromtimestamp(outbox.now, UTC),
        domain=outbox.owner.domain,
        new_identifier=lambda: identifier,
        limit=outbox.settings.max_header_size + ADDED,
    )
    if preamble.is_sealed != (sealed is not None):
        raise Malformed("it is sealed and does not say so, or it only says so")
    if not (_has_same_fields(preamble, header) if sealed else preamble.header == header):
        raise Malformed("its header is not as one that was stored")
    return preamble


def _has_same_fields(preamble: Preamble, header: bytes) -> bool:
    """Is it the same outer header? In which order depends on how its author was left out."""
    block = header.removesuffix(b"\r\n")
    given = scan(block, len(block))
    return header.endswith(b"\r\n\r\n") and sorted(field.raw for field in given) == sorted(
        field.raw for field in preamble.fields
    )


def _check_outer(
    outbox: Outbox, identifier: str, header: bytes, sealed: str, first: Preamble
) -> None:
    """Raises Malformed where it is not the outer header of the message in the clear."""
    try:
        outer = _prepared(outbox, identifier, header, sealed)
    except XHMTPError as error:
        raise Malformed(f"the message {identifier}, sealed: {error}") from None
    if (outer.sender, outer.message_id) != (first.sender, first.message_id):
        raise Malformed(f"the message {identifier}, sealed, is another one than in the clear")


def _require_own(outbox: Outbox, values: Mapping[str, Any], preamble: Preamble) -> None:
    """Raises Malformed where the row is not that of a message of the owner's with this header."""
    if values["sender"] != str(outbox.owner) and not is_from_postmaster(outbox, values):
        raise Malformed("its sender is somebody else")
    if preamble.sender is None:
        if values["alias"] is None or not is_identifier(values["alias"]):
            raise Malformed("it has no From, and no alias")
        if not 0 < len(values["message_id"]) <= 2 * MAX_MESSAGE_ID:
            raise Malformed("it has no Message-ID")
    elif values["message_id"] not in (preamble.message_id, f"{preamble.message_id} {values['id']}"):
        raise Malformed("its Message-ID is another")
    elif values["alias"] not in (None, preamble.sender.canonical.local):
        raise Malformed("its alias is none")


def is_from_postmaster(outbox: Outbox, values: Mapping[str, Any]) -> bool:
    """Is it a report that the agent made for her?"""
    postmaster = Endpoint(LOCAL, outbox.owner.domain)
    return bool(values["is_report"]) and values["sender"] == str(postmaster)
