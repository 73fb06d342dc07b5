"""A file whose octets must be those that were told of: read in pieces, and compared at its end."""

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from xhmtp_wsgi.errors import Malformed


def verified(file: BinaryIO, *, size: int, digest: bytes, what: str, piece: int) -> Iterator[bytes]:
    """The octets, ``piece`` at a time, from the file's beginning.

    ``digest``: their SHA-256. Raises Malformed after the last one where they are not those.
    """
    file.seek(0)
    found, read = hashlib.sha256(), 0
    while octets := file.read(piece):
        found.update(octets)
        read += len(octets)
        yield octets
    if (read, found.digest()) != (size, digest):
        raise Malformed(f"{what} is not as it was: its digest differs")
