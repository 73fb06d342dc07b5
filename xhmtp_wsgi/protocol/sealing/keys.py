"""The keys of age files: recipients, which seal, and identities, which open (c2sp.org/age).

Two kinds: X25519, and the hybrid of ML-KEM-768 and X25519 that a quantum computer does not open.
cryptography is imported when first used: in a second sub-interpreter of mod_wsgi it cannot be.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from xhmtp_wsgi.errors import MalformedKey
from xhmtp_wsgi.protocol.sealing import bech32

X25519 = "x25519"
HYBRID = "mlkem768x25519"
MAX_KEY = 4096  # characters of a key in Bech32
MAX_KEYS_TEXT = 256 << 10  # characters of a file of keys
ENCAPSULATION_KEY = 1184  # octets: the part of a hybrid key that is ML-KEM's
SECRET = 32  # octets
_RECIPIENT_PREFIX = {X25519: "age", HYBRID: "age1pq"}
_IDENTITY_PREFIX = {X25519: "age-secret-key-", HYBRID: "age-secret-key-pq-"}
_LENGTH = {X25519: 32, HYBRID: ENCAPSULATION_KEY + 32}
_NO_LATTICES = "post-quantum keys need a cryptography whose OpenSSL has ML-KEM (3.5 or newer)"

# Points of small order, in every way of writing them that an implementation may take (RFC 7748, 7).
_PRIME = (1 << 255) - 19
_ORDER_EIGHT = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
_SMALL_ORDER = frozenset(
    {*range(2), _PRIME - 1, *_ORDER_EIGHT, _PRIME, _PRIME + 1}
)  # as numbers, the top bit left out


@dataclass(frozen=True, slots=True)
class Recipient:
    """A key to seal to. ``kind``: X25519 or HYBRID; ``octets``: the public key."""

    kind: str
    octets: bytes

    @classmethod
    def parse(cls, text: str) -> "Recipient":
        """Reads ``age1...`` or ``age1pq1...``. Raises MalformedKey."""
        kind, octets = _decoded(text, _RECIPIENT_PREFIX, "a key to seal to (age1...)")
        if len(octets) != _LENGTH[kind]:
            raise MalformedKey("the key has not the length that it should have")
        if is_small_order(octets[-32:]):
            raise MalformedKey("the key is a point of small order: anybody could open")
        found = cls(kind, octets)
        if kind == HYBRID:
            found.hybrid_key()
        return found

    def __str__(self) -> str:
        return bech32.encode(_RECIPIENT_PREFIX[self.kind], self.octets)

    def hybrid_key(self) -> Any:
        """The key as cryptography wants it; of a HYBRID one alone. Raises MalformedKey."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
        from cryptography.hazmat.primitives.hpke import MLKEM768X25519PublicKey

        try:
            return MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(self.octets[:ENCAPSULATION_KEY]),
                X25519PublicKey.from_public_bytes(self.octets[ENCAPSULATION_KEY:]),
            )
        except ValueError:
            raise MalformedKey("the key is not one of ML-KEM-768 and X25519") from None
        except UnsupportedAlgorithm:
            raise MalformedKey(_NO_LATTICES) from None


@dataclass(frozen=True, slots=True)
class Identity:
    """A secret key, which opens. ``kind``: X25519 or HYBRID; ``secret``: 32 octets."""

    kind: str
    secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "Identity":
        """Reads ``AGE-SECRET-KEY-...``. Raises MalformedKey, which does not hold it."""
        kind, octets = _decoded(text, _IDENTITY_PREFIX, "a secret key (AGE-SECRET-KEY-...)")
        if len(octets) != SECRET:
            raise MalformedKey("the secret key has not the length that it should have")
        return cls(kind, octets)

    @classmethod
    def generate(cls, *, post_quantum: bool = False) -> "Identity":
        """A new one."""
        return cls(HYBRID if post_quantum else X25519, secrets.token_bytes(SECRET))

    def text(self) -> str:
        """As a file of identities has it."""
        return bech32.encode(_IDENTITY_PREFIX[self.kind], self.secret).upper()

    @property
    def recipient(self) -> Recipient:
        """The key that seals to it."""
        if self.kind == X25519:
            return Recipient(X25519, self.x25519_key().public_key().public_bytes_raw())
        lattice, curve = self._hybrid_parts()
        return Recipient(
            HYBRID,
            lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw(),
        )

    def x25519_key(self) -> Any:
        """The key as cryptography wants it; of an X25519 one alone."""
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        return X25519PrivateKey.from_private_bytes(self.secret)

    def hybrid_key(self) -> Any:
        """The key as cryptography wants it; of a HYBRID one alone."""
        from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey

        return MLKEM768X25519PrivateKey(*self._hybrid_parts())

    def _hybrid_parts(self) -> tuple[Any, Any]:
        """Its two keys, made of the seed (draft-ietf-hpke-pq, MLKEM768-X25519)."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        expanded = hashlib.shake_256(self.secret).digest(96)
        try:
            lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        except UnsupportedAlgorithm:
            raise MalformedKey(_NO_LATTICES) from None
        return lattice, X25519PrivateKey.from_private_bytes(expanded[64:])


@dataclass(frozen=True, slots=True)
class Passphrase:
    """What opens a file that was sealed with a passphrase.

    ``max_work_factor``: the logarithm of the most that scrypt may be made to do: 20 takes a
    gigabyte for seconds.
    """

    text: str = field(repr=False)
    max_work_factor: int = 20


def is_small_order(point: bytes) -> bool:
    """Is it a point of X25519 that makes the secret zero for everybody? (RFC 7748, section 6.1)"""
    without_top_bit = int.from_bytes(point, "little") & ((1 << 255) - 1)
    return without_top_bit in _SMALL_ORDER


def parse_recipients(text: str) -> tuple[Recipient, ...]:
    """The keys in a file such as `age -R` reads: one a line. Raises MalformedKey."""
    return tuple(Recipient.parse(line) for line in _lines(text))


def parse_identities(text: str) -> tuple[Identity, ...]:
    """The secret keys in a file such as `age-keygen` writes. Raises MalformedKey."""
    return tuple(Identity.parse(line) for line in _lines(text))


def _lines(text: str) -> Iterable[str]:
    if len(text) > MAX_KEYS_TEXT:
        raise MalformedKey("a file of keys cannot be so long")
    stripped = (line.strip() for line in text.splitlines())
    return (line for line in stripped if line and not line.startswith("#"))


def _decoded(text: str, prefixes: dict[str, str], what: str) -> tuple[str, bytes]:
    """The kind and the octets of a key. Raises MalformedKey, which does not hold the text."""
    if len(text) > MAX_KEY or not text.isascii():
        raise MalformedKey(f"this is not {what}")
    prefix = text.lower().rpartition("1")[0]
    kind = next((kind for kind, wanted in prefixes.items() if wanted == prefix), None)
    if kind is None:
        raise MalformedKey(f"this is not {what}")
    try:
        return kind, bech32.decode(text)[1]
    except ValueError as error:
        raise MalformedKey(f"this is not {what}: {error}") from None
