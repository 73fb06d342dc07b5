"""Message IDs and access codes: random, URL-safe, and compared in constant time.

Security: a code is 160 random bits, so that its SHA-256 needs no salt and no slow hash.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import TypeAlias

Randomness: TypeAlias = Callable[[int], bytes]

_CODE = 20  # octets: a multiple of five, so that each is so many whole digits of base 32
_DIGITS = _CODE // 5 * 8
_IDENTIFIER = re.compile(r"[a-z2-7]{26}")


def new_code(randomness: Randomness = secrets.token_bytes) -> str:
    """An access code or token: 160 random bits, as 32 letters and digits."""
    return new_codes(1, randomness)[0]


def new_codes(count: int, randomness: Randomness = secrets.token_bytes) -> list[str]:
    """So many access codes, which cost less at once than one by one."""
    digits = _base32(randomness(_CODE * count))
    return [digits[at : at + _DIGITS] for at in range(0, len(digits), _DIGITS)]


def new_identifier(randomness: Randomness = secrets.token_bytes) -> str:
    """A message ID: 128 random bits, as 26 letters and digits."""
    return _base32(randomness(16))


def is_identifier(text: str) -> bool:
    """Has it the form of an ID of ours?"""
    return _IDENTIFIER.fullmatch(text) is not None


def hash_code(code: str) -> bytes:
    """What is kept of a code."""
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).digest()


def matches(code: str, stored: bytes) -> bool:
    """Is that the code whose hash was stored? Takes any string, and always the same time."""
    return hmac.compare_digest(hash_code(code), stored)


def _base32(octets: bytes) -> str:
    return base64.b32encode(octets).decode().rstrip("=").lower()
