"""Passwords: hashed by argon2id, and those that were right remembered for a few minutes.

Argon2 is slow on purpose, and a program that injects asks for it with each message; so a password
that was right is remembered, in this process only and only as a keyed hash.

Security: nobody's password costs as much as a wrong one.
"""

import hashlib
import secrets
import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from xhmtp_wsgi.errors import Malformed

if TYPE_CHECKING:
    from argon2 import PasswordHasher

REMEMBERED_FOR = 300.0  # seconds for which a right password need not be hashed again
REMEMBERED_MOST = 1000
MAX_PASSWORD = 1024  # characters


class Passwords:
    """Hashes and verifies passwords, and remembers those that were right."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """``monotonic``: seconds that never jump."""
        self._monotonic = monotonic
        self._key = secrets.token_bytes(32)
        self._remembered: dict[bytes, float] = {}
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(2)  # so that a flood of log-ins takes bounded memory
        self._nobody: str | None = None

    def hash(self, password: str) -> str:
        """The hash to be kept. Raises Malformed for a password that is empty or too long."""
        if not 0 < len(password) <= MAX_PASSWORD:
            raise Malformed(f"a password has 1 to {MAX_PASSWORD} characters")
        return self._hasher.hash(_octets(password))

    def verify(self, hashed: str | None, password: str) -> bool:
        """Is that the password? None for ``hashed`` takes as long, and is never right."""
        if len(password) > MAX_PASSWORD:
            return False
        fingerprint = hashlib.blake2b(
            (hashed or "").encode() + b"\0" + _octets(password), key=self._key, digest_size=32
        ).digest()
        now = self._monotonic()
        with self._lock:
            if hashed and self._remembered.get(fingerprint, 0.0) > now:
                return True
        with self._turns:
            right = self._hashes_to(hashed, password)
        if right:
            self._remember(fingerprint, now + REMEMBERED_FOR)
        return right

    @cached_property
    def _hasher(self) -> "PasswordHasher":
        # Imported for the first password: the notifier sees none.
        from argon2 import PasswordHasher

        # OWASP's second smallest memory for argon2id: many site owners run on a small machine.
        return PasswordHasher(time_cost=4, memory_cost=9 * 1024, parallelism=1)

    def _hashes_to(self, hashed: str | None, password: str) -> bool:
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            self._hasher.verify(hashed or self._hash_of_nobody(), _octets(password))
        except (VerificationError, InvalidHashError):
            return False
        return hashed is not None

    def _hash_of_nobody(self) -> str:
        if self._nobody is None:
            self._nobody = self._hasher.hash(secrets.token_bytes(16))
        return self._nobody

    def _remember(self, fingerprint: bytes, until: float) -> None:
        with self._lock:
            if len(self._remembered) >= REMEMBERED_MOST:
                self._remembered.clear()
            self._remembered[fingerprint] = until


def _octets(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
