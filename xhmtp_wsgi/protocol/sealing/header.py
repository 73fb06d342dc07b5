"""The header of an age file: stanzas that wrap its key, and the MAC over them (c2sp.org/age)."""

import base64
import binascii
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

from xhmtp_wsgi.errors import MalformedSeal, SealBroken
from xhmtp_wsgi.protocol.sealing.piece_reader import PieceReader

VERSION = b"age-encryption.org/v1"
FILE_KEY = 16  # octets
MOST_STANZAS = 1000  # that are written into a file, or looked at in one
_MAX_LINE = 4096
_COLUMNS = 64
_MOST_BODY_LINES = 64
_ARGUMENT = re.compile(rb"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Stanza:
    """One wrapping of the file's key: its type with arguments, and what is wrapped."""

    arguments: tuple[str, ...]
    body: bytes

    def octets(self) -> bytes:
        """As it stands in the header."""
        text = encoded(self.body)
        lines = [text[start : start + _COLUMNS] for start in range(0, len(text), _COLUMNS)]
        if not lines or len(lines[-1]) == _COLUMNS:
            lines.append("")
        return "\n".join([f"-> {' '.join(self.arguments)}", *lines, ""]).encode("ascii")


@dataclass(frozen=True, slots=True)
class Header:
    """A header that was read; ``signed``: what its MAC covers."""

    stanzas: tuple[Stanza, ...]
    signed: bytes
    mac: bytes

    def require_mac(self, file_key: bytes) -> None:
        """Raises SealBroken where the header was changed."""
        if not hmac.compare_digest(self.mac, _mac(file_key, self.signed)):
            raise SealBroken("the sealed message was changed on the way: its header is not whole")


def write_header(stanzas: Sequence[Stanza], file_key: bytes) -> bytes:
    """The header with its MAC."""
    signed = b"".join([VERSION, b"\n", *(stanza.octets() for stanza in stanzas), b"---"])
    return signed + b" " + encoded(_mac(file_key, signed)).encode("ascii") + b"\n"


def read_header(source: PieceReader) -> Header:
    """Reads up to the payload. Raises MalformedSeal."""
    first = source.read_line(_MAX_LINE)
    if first != VERSION:
        raise MalformedSeal("this is not an age file of version 1")
    lines = [VERSION]
    stanzas: list[Stanza] = []
    line = _next_line(source)
    while not line.startswith(b"---"):
        if len(stanzas) >= MOST_STANZAS:
            raise MalformedSeal(f"it is sealed to more than {MOST_STANZAS} keys")
        stanza, read = _read_stanza(line, source)
        stanzas.append(stanza)
        lines += [line, *read]
        line = _next_line(source)
    if not stanzas:
        raise MalformedSeal("its header names no key")
    if not line.startswith(b"--- "):
        raise MalformedSeal("the last line of its header is malformed")
    mac = decoded(line[4:].decode("latin-1"), 32)
    return Header(tuple(stanzas), b"\n".join([*lines, b"---"]), mac)


def encoded(octets: bytes) -> str:
    """Base64 without padding."""
    return base64.b64encode(octets).rstrip(b"=").decode("ascii")


def decoded(text: str, length: int | None = None) -> bytes:
    """Reads base64 without padding; ``length``: the octets it must be.

    Raises MalformedSeal where it is not written in the one way that it can be.
    """
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        octets = None
    if octets is None or encoded(octets) != text or (length is not None and len(octets) != length):
        raise MalformedSeal("a value in its header is malformed")
    return octets


def _read_stanza(first: bytes, source: PieceReader) -> tuple[Stanza, list[bytes]]:
    """A stanza that begins with that line, and its further lines."""
    if not first.startswith(b"-> "):
        raise MalformedSeal("a line of its header is malformed")
    arguments = first[3:].split(b" ")
    if not all(_ARGUMENT.fullmatch(argument) for argument in arguments):
        raise MalformedSeal("a line of its header is malformed")
    lines: list[bytes] = []
    while not lines or len(lines[-1]) == _COLUMNS:
        if len(lines) >= _MOST_BODY_LINES:
            raise MalformedSeal("a value in its header is too long")
        lines.append(_next_line(source))
        if len(lines[-1]) > _COLUMNS:
            raise MalformedSeal("a line of its header is too long")
    body = decoded(b"".join(lines).decode("latin-1"))
    return Stanza(tuple(argument.decode("ascii") for argument in arguments), body), lines


def _next_line(source: PieceReader) -> bytes:
    line = source.read_line(_MAX_LINE)
    if line is None:
        raise MalformedSeal("its header is cut off, or a line of it is too long")
    return line


def _mac(file_key: bytes, signed: bytes) -> bytes:
    return hmac.digest(hkdf(file_key, b"", b"header"), signed, "sha256")


def hkdf(material: bytes, salt: bytes, info: bytes) -> bytes:
    """A key of 32 octets (RFC 5869, SHA-256)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt or None, info).derive(material)
