"""Repr-Digest (RFC 9530) and dates as HTTP writes them."""

import base64
import binascii
import re
from email.utils import formatdate

_SHA256 = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:([A-Za-z0-9+/=]*):\s*(?=,|$)")


def repr_digest(digest: bytes) -> str:
    """The value of a Repr-Digest field for a SHA-256."""
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


def parse_repr_digest(value: str) -> bytes | None:
    """The SHA-256 in a Repr-Digest field; None if there is none, other algorithms aside."""
    found = _SHA256.search(value)
    if found is None:
        return None
    try:
        digest = base64.b64decode(found[1], validate=True)
    except binascii.Error:
        return None
    return digest if len(digest) == 32 else None


def http_date(moment: float) -> str:
    """Seconds since the epoch as an HTTP date (RFC 9110, section 5.6.7)."""
    return formatdate(moment, usegmt=True)
