"""A message on its way in: kept in a temporary file until it is whole, and hashed as it comes.

A slow upload so holds no lock of the database, and a broken one leaves nothing behind: the file has
no name, and the system frees it when it is closed, or when the process dies. What is to be sealed
is encrypted even there, with a key that is in memory alone: no disk ever has it in the clear.
"""

import hashlib
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import BinaryIO

from xhmtp_wsgi.errors import MalformedMessage, StorageFull, TooLarge
from xhmtp_wsgi.protocol.message import NewlineConverter, Preamble, split_header
from xhmtp_wsgi.protocol.sealing import is_sealed

IN_MEMORY = 256 << 10  # octets below which no file is made
_AT_ONCE = 256 << 10
_LOOKED_AT = 2048  # octets in which an age file shows that it is one
_SECRET = 16


@dataclass(frozen=True)
class SpooledMessage:
    """A whole message: what its header says, and its octets as they will be stored."""

    preamble: Preamble
    size: int
    digest: bytes
    file: BinaryIO
    secret: bytes = field(default=b"", repr=False)

    def in_pieces(self, length: int) -> Iterator[bytes]:
        """The octets, ``length`` at a time."""
        self.file.seek(0)
        if not self.secret:
            while piece := self.file.read(length):
                yield piece
            return
        from xhmtp_wsgi.protocol.sealing.payload import decrypt_payload
        from xhmtp_wsgi.protocol.sealing.piece_reader import PieceReader

        stored = PieceReader(iter(lambda: self.file.read(_AT_ONCE), b""))
        content = PieceReader(decrypt_payload(stored, self.secret))
        while piece := bytes(content.read(length)):
            yield piece


def spool(
    pieces: Iterable[bytes],
    prepare: Callable[[bytes], Preamble],
    *,
    directory: str,
    header_limit: int,
    limit: int,
    confidential: bool = False,
) -> SpooledMessage:
    """Takes in a message piece by piece.

    ``prepare`` makes the header block fit to be stored, or raises; of what came sealed, the body is
    stored alone. ``confidential``: it is encrypted while it is here. Raises TooLarge, or
    StorageFull where the temporary files have no room. The caller closes the file.
    """
    source = iter(pieces)
    header, rest = _read_header(source, header_limit)
    preamble = prepare(header)
    start = b"" if preamble.is_sealed else preamble.header
    counted = _Counted(limit, start, _body(preamble, rest, source))
    return _spooled(preamble, counted, directory, confidential=confidential)


def spool_again(
    preamble: Preamble, pieces: Iterable[bytes], *, directory: str, limit: int
) -> SpooledMessage:
    """Another representation of a message that was taken in: these octets, with that header."""
    return _spooled(preamble, _Counted(limit, b"", pieces), directory, confidential=False)


def _spooled(
    preamble: Preamble, counted: "_Counted", directory: str, *, confidential: bool
) -> SpooledMessage:
    file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=directory or None)  # noqa: SIM115 - the caller's
    secret = secrets.token_bytes(_SECRET) if confidential else b""
    try:
        for octets in _encrypted(counted, secret) if confidential else counted:
            file.write(octets)
    except BaseException as error:
        # To close it may be to write what is left, for which there is no room either.
        with suppress(OSError):
            file.close()
        if isinstance(error, OSError):
            raise StorageFull("there is no room left to take the message") from error
        raise
    digest = counted.digest.digest()
    return SpooledMessage(preamble, counted.size, digest, file, secret)  # type: ignore[arg-type]


def _encrypted(octets: Iterable[bytes], secret: bytes) -> Iterator[bytes]:
    from xhmtp_wsgi.protocol.sealing.payload import encrypt_payload
    from xhmtp_wsgi.protocol.sealing.piece_reader import PieceReader

    return encrypt_payload(PieceReader(octets), secret)


def _read_header(source: Iterator[bytes], limit: int) -> tuple[bytes, bytes]:
    """The header block, and what was read beyond it."""
    buffer = b""
    for piece in source:
        buffer += piece
        end = split_header(buffer)
        if end is not None:
            if end > limit:
                break
            return buffer[:end], buffer[end:]
        if len(buffer) > limit:
            break
    else:
        return buffer, b""
    raise TooLarge("the header block", limit)


def _body(preamble: Preamble, rest: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    """The octets behind the header, as they will be stored."""
    if preamble.is_sealed:
        yield from _sealed_body(rest, source)
        return
    convert = NewlineConverter().feed if preamble.unix_newlines else None
    for piece in chain([rest], source):
        yield convert(piece) if convert else piece


def _sealed_body(rest: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    """What came sealed, untouched. Raises MalformedMessage where it is no age file."""
    start = rest
    while len(start) < _LOOKED_AT and (piece := next(source, b"")):
        start += piece
    if not is_sealed(start):
        raise MalformedMessage("Content-Type says application/age, and the body is no age file")
    yield start
    yield from source


class _Counted:
    """Octets that are counted and hashed as they pass. Raises TooLarge."""

    def __init__(self, limit: int, start: bytes, rest: Iterable[bytes]) -> None:
        self._limit = limit
        self._pieces = chain([start], rest)
        self.digest = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for octets in self._pieces:
            self.size += len(octets)
            if self.size > self._limit:
                raise TooLarge("the message", self._limit)
            self.digest.update(octets)
            if octets:
                yield octets
