"""Boxes: octets kept in the database that only a key which is not in it opens.

For what a session has unlocked, for what search knows of sealed messages, and for drafts that
answer them. ChaCha20-Poly1305 (RFC 8439), under keys that HKDF (RFC 5869) makes of a secret, one
for each purpose. What is in a box belongs to one place, which whoever opens it must name.

cryptography is imported when first used: in a second sub-interpreter of mod_wsgi it cannot be.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from xhmtp_wsgi.errors import Forbidden

OVERHEAD = 28  # octets by which a box is longer than what is in it
_NONCE = 12


class Locked(Forbidden):
    """It is encrypted here, and its owner has not unlocked it in this session."""


@dataclass(frozen=True, slots=True)
class SecretBox:
    """Opens and closes boxes of one purpose."""

    _key: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes, purpose: str) -> "SecretBox":
        """By a secret of at least 128 random bits."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        info = f"xhmtp box: {purpose}".encode()
        return cls(HKDF(SHA256(), 32, None, info).derive(secret))

    def closed(self, octets: bytes, place: str) -> bytes:
        """A box with these octets; ``place``: where it is kept, as the ID of a row."""
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        nonce = secrets.token_bytes(_NONCE)
        return nonce + ChaCha20Poly1305(self._key).encrypt(nonce, octets, place.encode())

    def opened(self, box: bytes, place: str) -> bytes | None:
        """What is in it; None for one of another key or place, or one that was changed."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        if len(box) < OVERHEAD:
            return None
        try:
            return ChaCha20Poly1305(self._key).decrypt(box[:_NONCE], box[_NONCE:], place.encode())
        except InvalidTag:
            return None


def opened_by_any(boxes: Iterable[SecretBox], box: bytes, place: str) -> bytes | None:
    """What is in it, by whichever of these opens it; None where none does."""
    found = (one.opened(box, place) for one in boxes)
    return next((octets for octets in found if octets is not None), None)
