"""The signature of a domain over a list of keys that it serves: RFC 9421 on the response.

As protocol/signature.py, for another purpose: tag ``xhmtp-keys``, over ``@status``,
``content-type`` and ``content-digest`` (docs/protocol.md, section 11). Caches may keep the answer,
so that it is good for longer than a notification; whose keys it tells stands in its first line
(published_keys.py), as nothing of the request is signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from xhmtp_wsgi.protocol.signature import (
    KeyName,
    Purpose,
    key_of,
    sign_message,
    verify_message,
)

KEYS_VALID_FOR = 7200  # seconds: what a cache has kept for an hour is good for another one
KEYS = Purpose(
    "xhmtp-keys", ("@status", "content-type", "content-digest"), KEYS_VALID_FOR, 86400, "a day"
)


@dataclass(slots=True)
class _Response:
    """A response as http-message-signatures wants it."""

    status_code: int
    headers: dict[str, str]


def sign_response(
    *, content_type: str, body: bytes, seed: bytes, name: KeyName, now: float, status: int = 200
) -> dict[str, str]:
    """The header fields that sign a list of keys: Content-Digest, Signature-Input and Signature.

    ``seed``: the 32 octets of an Ed25519 private key; ``now``: seconds since the epoch.
    """
    response = _Response(status, {"Content-Type": content_type})
    sign_message(response, KEYS, body=body, seed=seed, name=name, now=now)
    del response.headers["Content-Type"]
    return response.headers


def key_of_response(headers: Mapping[str, str]) -> KeyName | None:
    """The key that a list of keys says it is signed with; None where it is not signed as one.

    ``headers``: by name in lower case. Raises MalformedSignature.
    """
    return key_of(headers, KEYS)


def verify_response(
    *, status: int, headers: Mapping[str, str], body: bytes, public_key: bytes, now: float
) -> float:
    """Verifies the signature of a list of keys; returns when it expires, by the epoch.

    ``headers``: by name in lower case. Raises SignatureInvalid, saying why: a wrong key, another
    body, too little covered, too old.
    """
    response = _Response(status, dict(headers))
    return verify_message(response, KEYS, body=body, public_key=public_key, now=now)
