"""A message on its way in: kept in a temporary file until it is whole, and hashed as it comes.

A slow upload so holds no lock of the database, and a broken one leaves nothing behind: the file has
no name, and the system frees it when it is closed, or when the process dies.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from xhmtp_wsgi.errors import StorageFull, TooLarge
from xhmtp_wsgi.protocol.message import NewlineConverter, Preamble, split_header

IN_MEMORY = 256 << 10  # octets below which no file is made


@dataclass(frozen=True)
class SpooledMessage:
    """A whole message: what its header says, and its octets as they will be stored."""

    preamble: Preamble
    size: int
    digest: bytes
    file: BinaryIO

    def in_pieces(self, length: int) -> Iterator[bytes]:
        """The octets, ``length`` at a time."""
        self.file.seek(0)
        while piece := self.file.read(length):
            yield piece


def spool(
    pieces: Iterable[bytes],
    prepare: Callable[[bytes], Preamble],
    *,
    directory: str,
    header_limit: int,
    limit: int,
) -> SpooledMessage:
    """Takes in a message piece by piece.

    ``prepare`` makes the header block fit to be stored, or raises. Raises TooLarge, or StorageFull
    where the temporary files have no room. The caller closes the file.
    """
    source = iter(pieces)
    header, rest = _read_header(source, header_limit)
    preamble = prepare(header)
    file = tempfile.SpooledTemporaryFile(IN_MEMORY, dir=directory or None)  # noqa: SIM115 - the caller's
    try:
        size, digest = _write(file, preamble, rest, source, limit)
    except BaseException as error:
        # To close it may be to write what is left, for which there is no room either.
        with suppress(OSError):
            file.close()
        if isinstance(error, OSError):
            raise StorageFull("there is no room left to take the message") from error
        raise
    return SpooledMessage(preamble, size, digest, file)  # type: ignore[arg-type]


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


def _write(
    file: "tempfile.SpooledTemporaryFile[bytes]",
    preamble: Preamble,
    rest: bytes,
    source: Iterator[bytes],
    limit: int,
) -> tuple[int, bytes]:
    digest = hashlib.sha256()
    size = 0

    def take(octets: bytes) -> None:
        nonlocal size
        size += len(octets)
        if size > limit:
            raise TooLarge("the message", limit)
        digest.update(octets)
        file.write(octets)

    take(preamble.header)
    convert = NewlineConverter().feed if preamble.unix_newlines else None
    take(convert(rest) if convert else rest)
    for piece in source:
        take(convert(piece) if convert else piece)
    return size, digest.digest()
