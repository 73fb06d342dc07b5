"""Signs many notifications with one key: RFC 9421, as protocol/signature.py has it.

What is covered, and in which order, never changes, so that the signature base (RFC 9421, section
2.5) is a text with four gaps; the key is opened once. http-message-signatures makes the same
octets, in eight times the time (0.65 ms against 0.08), and verifies them: the tests compare.
"""

import base64
import hashlib

from xhmtp_wsgi.protocol.digest import repr_digest
from xhmtp_wsgi.protocol.signature import LABEL, NOTIFICATION, KeyName

_COVERED = " ".join(f'"{name}"' for name in NOTIFICATION.covered)


class RequestSigner:
    """A domain's key, ready to sign POSTs. Safe to be used by several threads."""

    def __init__(self, seed: bytes, name: KeyName, content_type: str) -> None:
        """``seed``: the 32 octets of an Ed25519 private key; ``content_type``: of all bodies."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._name = name
        self._content_type = content_type

    def sign(self, body: bytes, now: float) -> dict[str, str]:
        """Content-Digest, Signature-Input and Signature; ``now``: seconds since the epoch."""
        digest = repr_digest(hashlib.sha256(body).digest())
        created = int(now)
        params = (
            f'({_COVERED});created={created};keyid="{self._name}";alg="ed25519"'
            f';expires={created + NOTIFICATION.valid_for};tag="{NOTIFICATION.tag}"'
        )
        signed = self._key.sign(
            (
                f'"@method": POST\n"content-type": {self._content_type}\n'
                f'"content-digest": {digest}\n"@signature-params": {params}'
            ).encode("ascii")
        )
        return {
            "Content-Digest": digest,
            "Signature-Input": f"{LABEL}={params}",
            "Signature": f"{LABEL}=:{base64.b64encode(signed).decode('ascii')}:",
        }
