"""How a file's key is wrapped for one recipient, and unwrapped (c2sp.org/age, recipient types)."""

import re
import secrets
from collections.abc import Sequence
from typing import Any

from xhmtp_wsgi.errors import MalformedKey, MalformedSeal, NotSealedToThese
from xhmtp_wsgi.protocol.sealing.header import FILE_KEY, Stanza, decoded, encoded, hkdf
from xhmtp_wsgi.protocol.sealing.keys import (
    HYBRID,
    X25519,
    Identity,
    Passphrase,
    Recipient,
    is_small_order,
)

SCRYPT = "scrypt"
_X25519_TYPE = "X25519"
_X25519_INFO = b"age-encryption.org/v1/X25519"
_HYBRID_INFO = b"age-encryption.org/mlkem768x25519"
_SCRYPT_LABEL = b"age-encryption.org/v1/scrypt"
_ENCAPSULATED = 1120  # octets
_WRAPPED = FILE_KEY + 16
_SALT = 16
_SMALL = "a wrapped key in its header is a point of small order"
_WORK_FACTOR = re.compile(r"[1-9][0-9]?")


def wrap(file_key: bytes, recipient: Recipient) -> Stanza:
    """The stanza for one recipient."""
    return (_wrap_hybrid if recipient.kind == HYBRID else _wrap_x25519)(file_key, recipient)


def wrap_with_passphrase(file_key: bytes, passphrase: str, work_factor: int) -> Stanza:
    """The stanza for whoever knows a passphrase."""
    salt = secrets.token_bytes(_SALT)
    body = _encrypted(_stretched(passphrase, salt, work_factor), file_key)
    return Stanza((SCRYPT, encoded(salt), str(work_factor)), body)


def unwrap(stanzas: Sequence[Stanza], identities: Sequence[Identity | Passphrase]) -> bytes:
    """The file's key. Raises NotSealedToThese, or MalformedSeal."""
    if len(stanzas) > 1 and any(stanza.arguments[0] == SCRYPT for stanza in stanzas):
        raise MalformedSeal("it is sealed with a passphrase and with something else")
    for identity in identities:
        for stanza in stanzas:
            file_key = _unwrapped(stanza, identity)
            if file_key is not None:
                return file_key
    if stanzas[0].arguments[0] == SCRYPT:
        raise NotSealedToThese("it is sealed with a passphrase, and with another one")
    raise NotSealedToThese("it is sealed, and to none of the keys that are at hand")


def _unwrapped(stanza: Stanza, identity: Identity | Passphrase) -> bytes | None:
    if isinstance(identity, Passphrase):
        return _unwrap_with_passphrase(stanza, identity) if _is(stanza, SCRYPT, 3) else None
    if identity.kind == X25519:
        return _unwrap_x25519(stanza, identity) if _is(stanza, _X25519_TYPE, 2) else None
    return _unwrap_hybrid(stanza, identity) if _is(stanza, HYBRID, 2) else None


def _is(stanza: Stanza, kind: str, arguments: int) -> bool:
    """Is it of that kind? Raises MalformedSeal where it is, and malformed."""
    if stanza.arguments[0] != kind:
        return False
    # The length first: else one could be had to tell which of many keys opens.
    if len(stanza.arguments) != arguments or len(stanza.body) != _WRAPPED:
        raise MalformedSeal("a wrapped key in its header is malformed")
    return True


def _wrap_x25519(file_key: bytes, recipient: Recipient) -> Stanza:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    ephemeral = X25519PrivateKey.generate()
    share = ephemeral.public_key().public_bytes_raw()
    try:
        secret = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient.octets))
    except ValueError:
        raise MalformedKey("the key is a point of small order: anybody could open") from None
    key = hkdf(secret, share + recipient.octets, _X25519_INFO)
    return Stanza((_X25519_TYPE, encoded(share)), _encrypted(key, file_key))


def _unwrap_x25519(stanza: Stanza, identity: Identity) -> bytes | None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    share = decoded(stanza.arguments[1], 32)
    private = identity.x25519_key()
    try:
        secret = private.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError:
        raise MalformedSeal(_SMALL) from None
    public = private.public_key().public_bytes_raw()
    return _decrypted(hkdf(secret, share + public, _X25519_INFO), stanza.body)


def _wrap_hybrid(file_key: bytes, recipient: Recipient) -> Stanza:
    sealed = _suite().encrypt(file_key, recipient.hybrid_key(), _HYBRID_INFO)
    return Stanza((HYBRID, encoded(sealed[:_ENCAPSULATED])), sealed[_ENCAPSULATED:])


def _unwrap_hybrid(stanza: Stanza, identity: Identity) -> bytes | None:
    from cryptography.exceptions import InvalidTag

    share = decoded(stanza.arguments[1], _ENCAPSULATED)
    if is_small_order(share[-32:]):
        raise MalformedSeal(_SMALL)
    try:
        return bytes(_suite().decrypt(share + stanza.body, identity.hybrid_key(), _HYBRID_INFO))
    except (InvalidTag, ValueError):
        return None


def _unwrap_with_passphrase(stanza: Stanza, passphrase: Passphrase) -> bytes | None:
    salt = decoded(stanza.arguments[1], _SALT)
    if not _WORK_FACTOR.fullmatch(stanza.arguments[2]):
        raise MalformedSeal("the work factor in its header is malformed")
    work_factor = int(stanza.arguments[2])
    if work_factor > passphrase.max_work_factor:
        raise MalformedSeal(
            f"its passphrase asks for work of 2^{work_factor}; "
            f"2^{passphrase.max_work_factor} is the most that is done"
        )
    return _decrypted(_stretched(passphrase.text, salt, work_factor), stanza.body)


def _stretched(passphrase: str, salt: bytes, work_factor: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    scrypt = Scrypt(salt=_SCRYPT_LABEL + salt, length=32, n=1 << work_factor, r=8, p=1)
    return scrypt.derive(passphrase.encode("utf-8"))


def _encrypted(key: bytes, file_key: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    return ChaCha20Poly1305(key).encrypt(bytes(12), file_key, None)


def _decrypted(key: bytes, body: bytes) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), body, None)
    except InvalidTag:
        return None


def _suite() -> Any:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
