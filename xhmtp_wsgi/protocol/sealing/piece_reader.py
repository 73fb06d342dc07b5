"""Octets that come in pieces of any length, read by lines and by lengths."""

from collections.abc import Iterable


class PieceReader:
    """What is still to be read of some pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")

    def read(self, length: int) -> bytes | memoryview:
        """The next octets: fewer than ``length`` only at the end."""
        if len(self._rest) >= length:
            found, self._rest = self._rest[:length], self._rest[length:]
            return found
        parts, wanted = [self._rest], length - len(self._rest)
        self._rest = memoryview(b"")
        for piece in self._pieces:
            part = memoryview(piece)
            parts.append(part[:wanted])
            if len(part) >= wanted:
                self._rest = part[wanted:]
                break
            wanted -= len(part)
        return b"".join(parts)

    def read_line(self, limit: int) -> bytes | None:
        """The next line without its LF; None where none ends within ``limit`` octets.

        What was looked at in vain is still to be read.
        """
        line = b""
        while True:
            if not self._rest:
                self._rest = memoryview(next(filter(None, self._pieces), b""))
                if not self._rest:
                    self.put_back(line)
                    return None
            looked_at = bytes(self._rest[: limit + 1 - len(line)])
            end = looked_at.find(b"\n")
            if end >= 0:
                self._rest = self._rest[end + 1 :]
                return line + looked_at[:end]
            line += looked_at
            self._rest = self._rest[len(looked_at) :]
            if len(line) > limit:
                self.put_back(line)
                return None

    def put_back(self, octets: bytes) -> None:
        """Has these be read first."""
        self._rest = memoryview(octets + bytes(self._rest))
