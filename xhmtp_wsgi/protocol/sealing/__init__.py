"""Sealing: octets encrypted so that only some keys open them, as the age format has it.

That is age-encryption.org/v1 (c2sp.org/age), with X25519 and with post-quantum keys, streamed: what
`age` seals, this opens, and the other way round. Used by both wings and by the commands; nothing of
it is done by hand but the format itself: the cryptography is cryptography's.

Security: one file is for keys of one kind, since the weaker would decide for all. What ``unseal``
yields is authentic, but whole only when it is exhausted: nobody may show or use any of it before.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence

from xhmtp_wsgi.errors import MixedKeys, TooLarge
from xhmtp_wsgi.protocol.sealing.armour import BEGIN, MOST_WHITESPACE, armoured, without_armour
from xhmtp_wsgi.protocol.sealing.header import (
    FILE_KEY,
    MOST_STANZAS,
    VERSION,
    Stanza,
    read_header,
    write_header,
)
from xhmtp_wsgi.protocol.sealing.keys import (
    HYBRID,
    X25519,
    Identity,
    Passphrase,
    Recipient,
    parse_identities,
    parse_recipients,
)
from xhmtp_wsgi.protocol.sealing.payload import decrypt_payload, encrypt_payload
from xhmtp_wsgi.protocol.sealing.piece_reader import PieceReader
from xhmtp_wsgi.protocol.sealing.wrapping import unwrap, wrap, wrap_with_passphrase

__all__ = [
    "HYBRID",
    "MOST_STANZAS",
    "X25519",
    "Identity",
    "Passphrase",
    "Recipient",
    "armoured",
    "is_sealed",
    "parse_identities",
    "parse_recipients",
    "seal",
    "seal_with_passphrase",
    "unseal",
]

WORK_FACTOR = 17  # 128 MiB, and some half a second
_WHITESPACE = b" \t\r\n"


def seal(pieces: Iterable[bytes], recipients: Sequence[Recipient]) -> Iterator[bytes]:
    """An age file that each of these keys opens, in pieces.

    Raises MixedKeys for keys of two kinds, and TooLarge for more than MOST_STANZAS, at once.
    """
    if len({recipient.kind for recipient in recipients}) != 1:
        raise MixedKeys("one sealed file is for keys of one kind, and for one key at least")
    if len(recipients) > MOST_STANZAS:
        raise TooLarge("the number of keys of one sealed file", MOST_STANZAS)
    file_key = secrets.token_bytes(FILE_KEY)
    return _sealed(pieces, file_key, [wrap(file_key, recipient) for recipient in recipients])


def seal_with_passphrase(
    pieces: Iterable[bytes], passphrase: str, work_factor: int = WORK_FACTOR
) -> Iterator[bytes]:
    """An age file that a passphrase opens; ``work_factor``: the logarithm of scrypt's work."""
    file_key = secrets.token_bytes(FILE_KEY)
    return _sealed(pieces, file_key, [wrap_with_passphrase(file_key, passphrase, work_factor)])


def unseal(pieces: Iterable[bytes], identities: Sequence[Identity | Passphrase]) -> Iterator[bytes]:
    """What is in an age file, with armour or without, in pieces.

    Each piece is authentic, but they are all of it only when this ends without an error. Raises
    MalformedSeal, NotSealedToThese or SealBroken.
    """
    source = PieceReader(pieces)
    start = bytes(source.read(MOST_WHITESPACE + len(BEGIN)))
    source.put_back(start)
    if start.lstrip(_WHITESPACE).startswith(BEGIN[:10]):
        source.read(len(start) - len(start.lstrip(_WHITESPACE)))
        source = PieceReader(without_armour(source))
    header = read_header(source)
    file_key = unwrap(header.stanzas, identities)
    header.require_mac(file_key)
    yield from decrypt_payload(source, file_key)


def is_sealed(start: bytes) -> bool:
    """Do these first octets begin an age file, with armour or without?"""
    return start.startswith(VERSION + b"\n") or start.lstrip(_WHITESPACE).startswith(BEGIN)


def _sealed(pieces: Iterable[bytes], file_key: bytes, stanzas: Sequence[Stanza]) -> Iterator[bytes]:
    yield write_header(stanzas, file_key)
    yield from encrypt_payload(PieceReader(pieces), file_key)
