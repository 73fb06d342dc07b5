"""The keys with which a domain signs its notifications, and how one takes the place of another.

A key's secret is a file that only its owner can read; what is known of it stands in the database.
A new key signs only when its record has been seen in the DNS for so long that no agent still keeps
the answer that there is none: each that follows another waits ``key_wait`` seconds, and the first
one of a domain signs at once. A key that is retired signs no more; its record must stay as long as
what it signed may be on its way.

Security: hosts that share a database each need the files. None is ever shown or logged.
"""

import base64
import logging
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Column, Double, Table, Text, insert, select, update

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.discovery import Discovery
from xhmtp_wsgi.errors import Duplicate, NotFound, SettingsError, XHMTPError
from xhmtp_wsgi.protocol.response_signature import KEYS_VALID_FOR
from xhmtp_wsgi.protocol.signature import CLOCK_SKEW, VALID_FOR, KeyName, key_record
from xhmtp_wsgi.schema import metadata

logger = logging.getLogger(__name__)

LOOKED_UP_EACH = 30.0  # seconds
KEPT_AFTER = max(VALID_FOR, KEYS_VALID_FOR) + CLOCK_SKEW
"""Seconds that a retired key's record must stay."""

keys = Table(
    "signing_key",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("selector", Text, primary_key=True),
    Column("public", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("published_at", Double),
    Column("retired_at", Double),
)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What is known of a key. Times are seconds since the epoch."""

    name: KeyName
    public: bytes
    created_at: float
    published_at: float | None
    retired_at: float | None

    @property
    def record(self) -> str:
        """The line for the zone file."""
        return f'{self.name}. TXT "{key_record(self.public)}"'


@dataclass(frozen=True, slots=True)
class Signer:
    """A key with its secret."""

    name: KeyName
    seed: bytes


class SigningKeys:
    """The keys of an agent's own domains."""

    def __init__(
        self,
        database: Database,
        directory: str,
        discovery: Discovery,
        clock: Callable[[], float],
        key_wait: float,
    ) -> None:
        """``directory``: where the secrets are; ``key_wait``: seconds before a new key signs."""
        self._database = database
        self._directory = Path(directory)
        self._discovery = discovery
        self._clock = clock
        self._wait = key_wait
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, Signer | None]] = {}
        self._process = os.getpid()

    def add(self, domain: str) -> SigningKey:
        """Makes a key. It signs as soon as its record is published, and has been for a while.

        Raises SettingsError where the secret cannot be written.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        private = Ed25519PrivateKey.generate()
        now = self._clock()
        day = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d")
        name = KeyName(f"k{day}-{secrets.token_hex(2)}", domain)
        self._write(name, private.private_bytes_raw())
        public = private.public_key().public_bytes_raw()
        with self._database.transaction() as connection:
            connection.execute(
                insert(keys).values(
                    domain=domain,
                    selector=name.selector,
                    public=base64.b64encode(public).decode(),
                    created_at=now,
                )
            )
        self._found.pop(domain, None)
        return SigningKey(name, public, now, None, None)

    def all(self, domain: str) -> list[SigningKey]:
        """A domain's keys, the newest first."""
        with self._database.reading() as connection:
            found = connection.execute(
                select(keys)
                .where(keys.c.domain == domain)
                .order_by(keys.c.created_at.desc(), keys.c.selector)
            ).all()
        return [
            SigningKey(
                KeyName(row.selector, row.domain),
                base64.b64decode(row.public),
                row.created_at,
                row.published_at,
                row.retired_at,
            )
            for row in found
        ]

    def retire(self, domain: str, selector: str) -> SigningKey:
        """Has a key sign no more. Raises NotFound, or Duplicate where no other could sign now."""
        known = self.all(domain)
        chosen = next((key for key in known if key.name.selector == selector), None)
        if chosen is None:
            raise NotFound(f"{domain} has no key {selector}")
        others = [key for key in known if key.name.selector != selector]
        if chosen.retired_at is None and known and not self._usable(others):
            raise Duplicate(f"no other key of {domain} is ready to sign; {selector} stays")
        with self._database.transaction() as connection:
            connection.execute(
                update(keys)
                .where(
                    keys.c.domain == domain,
                    keys.c.selector == selector,
                    keys.c.retired_at.is_(None),
                )
                .values(retired_at=self._clock())
            )
        self._found.pop(domain, None)
        return next(key for key in self.all(domain) if key.name.selector == selector)

    def signer(self, domain: str) -> Signer | None:
        """The key that signs now; None where the domain has none that can."""
        if self._process != os.getpid():
            self._lock, self._process = threading.Lock(), os.getpid()
        now = self._clock()
        with self._lock:
            kept = self._found.get(domain)
            if kept is not None and 0 <= now - kept[0] < LOOKED_UP_EACH:
                return kept[1]
            usable = self._usable(self._seen(self.all(domain)))
            signer = None
            for key in usable:
                seed = self._read(key.name)
                if seed is not None:
                    signer = Signer(key.name, seed)
                    break
            self._found[domain] = now, signer
        return signer

    def has_secret(self, name: KeyName) -> bool:
        """Is the key's secret on this host, and fit to be used?"""
        return self._read(name) is not None

    def _usable(self, known: list[SigningKey]) -> list[SigningKey]:
        """Those that may sign, the best first: the newest that everybody can know."""
        published = [
            key for key in known if key.retired_at is None and key.published_at is not None
        ]
        now = self._clock()
        ready = [key for key in published if now - (key.published_at or now) >= self._wait]
        # The oldest where none has waited for long: before the first there was no other.
        return ready or sorted(published, key=lambda key: key.published_at or 0.0)

    def _seen(self, known: list[SigningKey]) -> list[SigningKey]:
        """The keys, those noted as published that the DNS has come to tell."""
        for key in known:
            if key.published_at is None and key.retired_at is None and self._is_published(key):
                with self._database.transaction() as connection:
                    connection.execute(
                        update(keys)
                        .where(
                            keys.c.domain == key.name.domain,
                            keys.c.selector == key.name.selector,
                            keys.c.published_at.is_(None),
                        )
                        .values(published_at=self._clock())
                    )
        return self.all(known[0].name.domain) if known else []

    def _is_published(self, key: SigningKey) -> bool:
        try:
            return self._discovery.key(key.name, fresh=True) == key.public
        except XHMTPError as error:
            logger.info("the key %s does not sign yet: %s", key.name, error)
            return False

    def _file(self, name: KeyName) -> Path:
        return self._directory / name.domain / f"{name.selector}.key"

    def _write(self, name: KeyName, seed: bytes) -> None:
        file = self._file(name)
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(base64.b64encode(seed) + b"\n")
                opened.flush()
                os.fsync(opened.fileno())
        except OSError as error:
            raise SettingsError(
                "key_directory", f"{file} cannot be written: {error.strerror}"
            ) from None

    def _read(self, name: KeyName) -> bytes | None:
        """A key's secret; None where this host has it not."""
        file = self._file(name)
        try:
            with file.open("rb") as opened:
                if os.fstat(opened.fileno()).st_mode & 0o077:
                    logger.error("%s can be read by others: chmod 600; it does not sign", file)
                    return None
                seed = base64.b64decode(opened.read(100).strip(), validate=True)
        except (OSError, ValueError):
            logger.error("%s is not to be had on this host; the key does not sign", file)
            return None
        return seed if len(seed) == 32 else None
