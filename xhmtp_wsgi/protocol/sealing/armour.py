"""The armour of an age file: strict PEM (RFC 7468, section 3), for places that want text."""

import base64
import binascii
from collections.abc import Iterable, Iterator

from xhmtp_wsgi.errors import MalformedSeal
from xhmtp_wsgi.protocol.sealing.piece_reader import PieceReader

BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
_END = b"-----END AGE ENCRYPTED FILE-----"
_COLUMNS = 64
_LINE = 48  # octets in a line
_LINES_AT_ONCE = 1024
MOST_WHITESPACE = 1024  # octets before and after
_WHITESPACE = b" \t\r\n"


def armoured(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The text of some octets, line ends LF."""
    yield BEGIN + b"\n"
    source = PieceReader(pieces)
    while octets := source.read(_LINE * _LINES_AT_ONCE):
        text = base64.b64encode(octets)
        lines = (text[start : start + _COLUMNS] for start in range(0, len(text), _COLUMNS))
        yield b"\n".join([*lines, b""])
    yield _END + b"\n"


def without_armour(source: PieceReader) -> Iterator[bytes]:
    """The octets in an armour; the whitespace before it has been read. Raises MalformedSeal."""
    if _line(source) != BEGIN:
        raise MalformedSeal("its armour does not begin as it should")
    decoded: list[bytes] = []
    is_last = False
    while (line := _line(source)) != _END:
        if is_last or not line:
            raise MalformedSeal("a line of its armour is too short, or empty")
        is_last = len(line) < _COLUMNS or line.endswith(b"=")
        decoded.append(_octets(line))
        if len(decoded) == _LINES_AT_ONCE:
            yield b"".join(decoded)
            decoded = []
    yield b"".join(decoded)
    behind = bytes(source.read(MOST_WHITESPACE + 1))
    if len(behind) > MOST_WHITESPACE or behind.strip(_WHITESPACE):
        raise MalformedSeal("something stands behind its armour")


def _line(source: PieceReader) -> bytes:
    line = source.read_line(_COLUMNS + 1)
    if line is None:
        # The last line may be without its end.
        line = bytes(source.read(_COLUMNS + 1))
        if line != _END:
            raise MalformedSeal("its armour is cut off, or has a line that is too long")
    line = line.removesuffix(b"\r")
    if len(line) > _COLUMNS:
        raise MalformedSeal("a line of its armour is too long")
    return line


def _octets(line: bytes) -> bytes:
    try:
        octets = base64.b64decode(line, validate=True)
    except binascii.Error:
        raise MalformedSeal("a line of its armour is not base64") from None
    if base64.b64encode(octets) != line:
        raise MalformedSeal("a line of its armour is not written as it should be")
    return octets
