"""An author's own signature: OpenSSH's SSHSIG, so that ``ssh-keygen -Y`` makes and checks it.

PROTOCOL.sshsig of OpenSSH; the namespace is ``xhmtp``. Keys are Ed25519, ECDSA on NIST's curves, or
RSA of 2048 bits and more. Cryptography is imported when first used, as in signature.py.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from xhmtp_wsgi.errors import MalformedSignature, SignatureInvalid

NAMESPACE = "xhmtp"
KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
MAX_KEY_LINE = 8 << 10  # characters
MAX_ARMOUR = 16 << 10  # characters
SMALLEST_RSA = 2048  # bits
_MAGIC = b"SSHSIG"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: two are the same where their blobs are."""

    kind: str
    blob: bytes
    comment: str = field(default="", compare=False)

    @classmethod
    def parse(cls, line: str) -> "PublicKey":
        """The key in a line of a .pub file, without options. Raises MalformedSignature."""
        line = line.strip()
        if len(line) > MAX_KEY_LINE or not line.isprintable():
            raise MalformedSignature("a key is one line of at most 8 KiB")
        kind, _, rest = line.partition(" ")
        text, _, comment = rest.strip().partition(" ")
        if kind not in KINDS:
            raise MalformedSignature(f"a key is one of {', '.join(KINDS)}, as in a .pub file")
        try:
            blob = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise MalformedSignature("the key is not base64") from None
        key = cls(kind, blob, comment.strip()[:200])
        _check_key(key)
        return key

    def line(self) -> str:
        """As in a .pub file, without the comment: that is anybody's."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"

    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"SHA256:{digest}"


def sign(private_key: bytes, passphrase: bytes | None, pieces: Iterable[bytes]) -> str:
    """The armoured signature over all pieces.

    ``private_key``: a file as ssh-keygen makes it. Raises MalformedSignature for what is no such,
    or a passphrase that does not open it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        key: Any = serialization.load_ssh_private_key(private_key, passphrase)
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise MalformedSignature("the private key cannot be opened") from error
    owner = PublicKey.parse(public.decode("ascii"))
    digest = hashlib.sha512()
    for piece in pieces:
        digest.update(piece)
    kind, signature = _raw_signature(owner, key, _signed(NAMESPACE, "sha512", digest.digest()))
    blob = (
        _MAGIC + struct.pack(">I", 1) + _string(owner.blob) + _string(NAMESPACE.encode())
        + _string(b"") + _string(b"sha512") + _string(_string(kind.encode()) + _string(signature))
    )  # fmt: skip
    text = base64.b64encode(blob).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "\n".join([_BEGIN, *lines, _END]) + "\n"


def verify(armoured: str, pieces: Iterable[bytes]) -> PublicKey:
    """The key that signed all pieces.

    Raises MalformedSignature for what is no signature of this namespace, SignatureInvalid for one
    that does not verify. Whose key it is, is the caller's to know.
    """
    reader = _Reader(_unarmoured(armoured))
    if reader.take(6) != _MAGIC or reader.number() != 1:
        raise MalformedSignature("not an SSH signature of version 1")
    blob, namespace, reserved, name, signature = (reader.string() for _ in range(5))
    reader.end()
    if namespace != NAMESPACE.encode():
        raise MalformedSignature(f"the signature is not for the namespace {NAMESPACE}")
    hash_name = name.decode("ascii", "replace")
    if hash_name not in _HASHES or reserved:
        raise MalformedSignature("the signature's hash is neither sha256 nor sha512")
    inner = _Reader(blob)
    key = PublicKey(inner.string().decode("ascii", "replace"), blob)
    _check_key(key)
    digest = _HASHES[hash_name]()
    for piece in pieces:
        digest.update(piece)
    parts = _Reader(signature)
    kind, octets = parts.string().decode("ascii", "replace"), parts.string()
    parts.end()
    _verify_raw(key, kind, octets, _signed(NAMESPACE, hash_name, digest.digest()))
    return key


def same_key(one: PublicKey, other: PublicKey) -> bool:
    """Are they one key?"""
    return hmac.compare_digest(one.blob, other.blob)


def _signed(namespace: str, hash_name: str, digest: bytes) -> bytes:
    """What is signed in the end: not the message, but what is said of it."""
    return (
        _MAGIC + _string(namespace.encode()) + _string(b"")
        + _string(hash_name.encode()) + _string(digest)
    )  # fmt: skip


def _check_key(key: PublicKey) -> None:
    """Raises MalformedSignature for a key that is none, or too weak."""
    loaded = _load(key)
    if key.kind == "ssh-rsa" and loaded.key_size < SMALLEST_RSA:
        raise MalformedSignature(f"an RSA key has {SMALLEST_RSA} bits at least")


def _load(key: PublicKey) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    if key.kind not in KINDS:
        raise MalformedSignature(f"the key is none of {', '.join(KINDS)}")
    try:
        return serialization.load_ssh_public_key(key.line().encode("ascii"))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MalformedSignature("the key is not one") from None


def _hash_of(key: PublicKey) -> Any:
    from cryptography.hazmat.primitives import hashes

    by_kind: dict[str, Any] = {
        "ecdsa-sha2-nistp256": hashes.SHA256(),
        "ecdsa-sha2-nistp384": hashes.SHA384(),
    }
    return by_kind.get(key.kind, hashes.SHA512())


def _raw_signature(owner: PublicKey, key: Any, octets: bytes) -> tuple[str, bytes]:
    """The name of the algorithm, and the signature as SSH has it."""
    from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

    if owner.kind == "ssh-ed25519":
        return owner.kind, key.sign(octets)
    if owner.kind == "ssh-rsa":
        return "rsa-sha2-512", key.sign(octets, padding.PKCS1v15(), _hash_of(owner))
    r, s = utils.decode_dss_signature(key.sign(octets, ec.ECDSA(_hash_of(owner))))
    return owner.kind, _string(_integer(r)) + _string(_integer(s))


def _verify_raw(key: PublicKey, kind: str, signature: bytes, octets: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

    loaded = _load(key)
    try:
        if key.kind == "ssh-ed25519" and kind == key.kind:
            loaded.verify(signature, octets)
        elif key.kind == "ssh-rsa" and kind in ("rsa-sha2-256", "rsa-sha2-512"):
            used = hashes.SHA256() if kind.endswith("256") else hashes.SHA512()
            loaded.verify(signature, octets, padding.PKCS1v15(), used)
        elif key.kind.startswith("ecdsa-") and kind == key.kind:
            reader = _Reader(signature)
            r, s = (int.from_bytes(reader.string(), "big") for _ in range(2))
            reader.end()
            encoded = utils.encode_dss_signature(r, s)
            loaded.verify(encoded, octets, ec.ECDSA(_hash_of(key)))
        else:
            raise MalformedSignature("the signature's algorithm is not its key's")
    except (InvalidSignature, ValueError):
        raise SignatureInvalid("the author's signature does not verify") from None


def _unarmoured(armoured: str) -> bytes:
    if len(armoured) > MAX_ARMOUR:
        raise MalformedSignature("the signature is longer than 16 KiB")
    lines = armoured.replace("\r\n", "\n").strip("\n").split("\n")
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise MalformedSignature("not an SSH signature")
    try:
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedSignature("the SSH signature is not base64") from None


def _string(octets: bytes) -> bytes:
    return struct.pack(">I", len(octets)) + octets


def _integer(number: int) -> bytes:
    """As SSH writes it: big-endian, with a leading zero where it would look negative."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


class _Reader:
    """Reads what `_string` writes."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._place = 0

    def take(self, length: int) -> bytes:
        end = self._place + length
        if end > len(self._octets):
            raise MalformedSignature("the SSH signature is cut short")
        taken = self._octets[self._place : end]
        self._place = end
        return taken

    def number(self) -> int:
        found: int = struct.unpack(">I", self.take(4))[0]
        return found

    def string(self) -> bytes:
        return self.take(self.number())

    def end(self) -> None:
        if self._place != len(self._octets):
            raise MalformedSignature("the SSH signature has something after its end")
