"""An OpenPGP public key as its owner uploads it: is it one, is it public, is it his? (RFC 9580)

A transferable public key (section 10.1) is a row of packets. They are walked from header to header,
and only the first one and the User IDs are looked into.

Security: no signature is verified here. Whoever seals to the key does that, with OpenPGP; here it
is only kept from being a secret key, somebody else's, or no key at all.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from xhmtp_wsgi.errors import MalformedKey
from xhmtp_wsgi.protocol.endpoint import Endpoint

MAX_OCTETS = 256 << 10  # of the packets; dirmngr takes no more from a Web Key Directory
MAX_UPLOAD = 400 << 10  # octets of an armoured key
KEEP_TO_YOURSELF = "that is a secret key: keep it to yourself"
_PUBLIC_KEY, _USER_ID = 6, 13
_SECRET_PACKETS = (5, 7)
# Signature, marker, public subkey, User Attribute, padding (section 5).
_OTHER_PACKETS = (2, 10, 14, 17, 21)
_BEGIN, _END = b"-----BEGIN PGP PUBLIC KEY BLOCK-----", b"-----END PGP PUBLIC KEY BLOCK-----"
_SECRET_BEGIN = b"-----BEGIN PGP PRIVATE KEY BLOCK-----"
_ARMOUR_HEADER = re.compile(rb"[A-Za-z][A-Za-z0-9-]*: ?[^\n]*")
_CHECKSUM = re.compile(rb"=[A-Za-z0-9+/]{4}")


@dataclass(frozen=True, slots=True)
class OpenPGPKey:
    """A key: its packets, its fingerprint in hexadecimal, and whose it says that it is."""

    octets: bytes = field(repr=False)
    fingerprint: str
    user_ids: tuple[str, ...]

    @classmethod
    def parse(cls, given: bytes) -> "OpenPGPKey":
        """The key in what was uploaded, armoured or not.

        Raises MalformedKey for what is no key, a secret one (KEEP_TO_YOURSELF), more than one,
        or larger than MAX_OCTETS.
        """
        if len(given) > MAX_UPLOAD:
            raise MalformedKey(_too_large())
        octets = given if given[:1] >= b"\x80" else _unarmoured(given)
        if len(octets) > MAX_OCTETS:
            raise MalformedKey(_too_large())
        first = b""
        user_ids = []
        for tag, body in _packets(octets):
            if tag in _SECRET_PACKETS:
                raise MalformedKey(KEEP_TO_YOURSELF)
            if not first and tag != _PUBLIC_KEY:
                raise MalformedKey("an OpenPGP key begins with a public key packet")
            if tag == _PUBLIC_KEY:
                if first:
                    raise MalformedKey(
                        "that is more than one key; export one of them, by its fingerprint"
                    )
                first = body
            elif tag == _USER_ID:
                user_ids.append(body.decode("utf-8", "replace"))
            elif tag not in _OTHER_PACKETS:
                raise MalformedKey(f"a packet of type {tag} has no place in a public key")
        return cls(octets, _fingerprint(first), tuple(user_ids))

    def is_of(self, endpoint: Endpoint) -> bool:
        """Does one of its User IDs have this address, in capitals or not?"""
        wanted = str(endpoint.canonical)
        return any(address_in(user_id).lower() == wanted for user_id in self.user_ids)


def address_in(user_id: str) -> str:
    """The address in a User ID: between < and >, or all of it (section 5.11); else empty."""
    _, opened, rest = user_id.partition("<")
    address, closed, _ = rest.partition(">")
    found = (address if closed else "") if opened else user_id
    # What is not ASCII could become it in lower case: U+212A is a K.
    return found if found.isascii() and "@" in found else ""


def _too_large() -> str:
    return f"the key is larger than the {MAX_OCTETS} octets that are taken here"


def _unarmoured(text: bytes) -> bytes:
    """The octets in an armoured key (section 6.2). A checksum is passed over, right or wrong."""
    if _SECRET_BEGIN in text:
        raise MalformedKey(KEEP_TO_YOURSELF)
    lines = [line.rstrip(b" \t") for line in text.replace(b"\r\n", b"\n").strip().split(b"\n")]
    if lines[0] != _BEGIN:
        raise MalformedKey("an OpenPGP key is a file that gpg --export writes, with --armor or not")
    if lines[-1] != _END:
        raise MalformedKey(f"the key is cut short: its last line is not {_END.decode()}")
    if b"" not in lines:
        raise MalformedKey("the armour has no empty line before the key")
    start = lines.index(b"")
    if not all(_ARMOUR_HEADER.fullmatch(line) for line in lines[1:start]):
        raise MalformedKey("the armour has a line before the key that is no header")
    body = lines[start + 1 : -1]
    if body and _CHECKSUM.fullmatch(body[-1]):
        body.pop()
    if _BEGIN in body:
        raise MalformedKey("that is more than one key; export one of them, by its fingerprint")
    try:
        return base64.b64decode(b"".join(body), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedKey("the armoured key is not base64") from None


def _packets(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each packet (section 4.2). Raises MalformedKey."""
    if not octets:
        raise MalformedKey("the key is empty")
    place = 0
    while place < len(octets):
        header = octets[place]
        if header < 0x80:
            raise MalformedKey("something that is no packet stands in the key")
        if header >= 0xC0:
            tag, (length, place) = header & 0x3F, _length(octets, place + 1)
        else:
            tag, (length, place) = (header >> 2) & 0x0F, _legacy_length(octets, place)
        end = place + length
        if end > len(octets):
            raise MalformedKey("the key is cut short")
        yield tag, octets[place:end]
        place = end


def _length(octets: bytes, place: int) -> tuple[int, int]:
    """A packet's length, and where its body begins (section 4.2.1)."""
    first = octets[place] if place < len(octets) else 255
    if first < 192:
        return first, place + 1
    if first < 224:
        return ((first - 192) << 8) + _number(octets, place + 1, 1) + 192, place + 2
    if first < 255:
        raise MalformedKey("a packet of partial length has no place in a key")
    return _number(octets, place + 1, 4), place + 5


def _legacy_length(octets: bytes, place: int) -> tuple[int, int]:
    """The same of the older form of header (section 4.2.2)."""
    kind = octets[place] & 0x03
    if kind == 3:
        raise MalformedKey("a packet without a length has no place in a key")
    size = 1 << kind
    return _number(octets, place + 1, size), place + 1 + size


def _number(octets: bytes, place: int, size: int) -> int:
    if place + size > len(octets):
        raise MalformedKey("the key is cut short")
    return int.from_bytes(octets[place : place + size], "big")


def _fingerprint(body: bytes) -> str:
    """Section 5.5.4."""
    if len(body) > 6 and body[0] == 4 and len(body) <= 0xFFFF:
        # Not for security: what a version 4 key is called.
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(b"\x99" + len(body).to_bytes(2, "big") + body)
        return digest.hexdigest().upper()
    if len(body) > 10 and body[0] == 6:
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise MalformedKey("the key is of another version of OpenPGP than 4 and 6")
