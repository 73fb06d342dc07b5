"""Keys that bob has given to his agent, so that its pages can open sealed messages for him.

Each is kept as an age file that his password opens (scrypt, 128 MiB): the database alone opens
nothing, and whoever has it must guess the password, with as much work for each guess. One key may
have another password than the next: what ``unlock`` opens are those that it fits.

Security: stretching a password takes 128 MiB for some half a second, so a process does one at a
time, and whoever asks for it counts wrong ones (login_guard). No password or key is in an error.
"""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Column, Double, LargeBinary, Table, Text, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from xhmtp_wsgi.accounts import WRONG
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import (
    Duplicate,
    Forbidden,
    Malformed,
    MalformedSeal,
    NotAuthenticated,
    NotFound,
    NotSealedToThese,
    SealBroken,
    TooMany,
)
from xhmtp_wsgi.passwords import MAX_PASSWORD
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.schema import metadata

if TYPE_CHECKING:
    from xhmtp_wsgi.protocol.sealing import Identity, Recipient

logger = logging.getLogger(__name__)

MOST_HELD = 5
WORK_FACTOR = 17  # scrypt's, as a logarithm: 128 MiB
TURN_WAIT = 20.0  # seconds that one waits for others' passwords
BUSY_FOR = 5.0  # seconds after which one may try again

held_keys = Table(
    "held_key",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("recipient", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("added_at", Double, nullable=False),
)


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key that is held, by its public half; ``added_at``: seconds since the epoch."""

    recipient: "Recipient"
    added_at: float


def give(
    database: Database, owner: Endpoint, identity: "Identity", password: str, now: float
) -> None:
    """Keeps a key of somebody's, sealed with his password.

    Raises Duplicate for one that is held, Forbidden above MOST_HELD, Malformed for a password that
    is empty or too long, or TooMany.
    """
    if not 0 < len(password) <= MAX_PASSWORD or not _is_text(password):
        raise Malformed(f"a password has 1 to {MAX_PASSWORD} characters")
    if len(listed(database, owner)) >= MOST_HELD:
        raise Forbidden(f"{MOST_HELD} keys are held; take one back first")
    recipient = str(identity.recipient)
    with _turns.one():
        sealed = _sealed(identity.text().encode(), password)
    try:
        with database.transaction() as connection:
            connection.execute(
                insert(held_keys).values(
                    owner=str(owner.canonical), recipient=recipient, sealed=sealed, added_at=now
                )
            )
    except IntegrityError:
        raise Duplicate("that key is held already") from None


def listed(database: Database, owner: Endpoint) -> list[HeldKey]:
    """The keys of somebody's that are held, the newest first."""
    from xhmtp_wsgi.protocol.sealing import Recipient

    with database.reading() as connection:
        found = connection.execute(
            select(held_keys.c.recipient, held_keys.c.added_at)
            .where(held_keys.c.owner == str(owner.canonical))
            .order_by(held_keys.c.added_at.desc(), held_keys.c.recipient)
        ).all()
    return [HeldKey(Recipient.parse(row.recipient), row.added_at) for row in found]


def has_any(database: Database, owner: Endpoint) -> bool:
    """Is any key of his held?"""
    with database.reading() as connection:
        found = connection.execute(
            select(held_keys.c.recipient).where(held_keys.c.owner == str(owner.canonical)).limit(1)
        ).scalar()
    return found is not None


def take_back(database: Database, owner: Endpoint, recipient: str) -> None:
    """Holds a key no more, by its public half. Raises NotFound."""
    with database.transaction() as connection:
        gone = connection.execute(
            delete(held_keys).where(
                held_keys.c.owner == str(owner.canonical), held_keys.c.recipient == recipient
            )
        )
    if not gone.rowcount:
        raise NotFound("no such key is held")


def unlock(database: Database, owner: Endpoint, password: str) -> "tuple[Identity, ...]":
    """The keys that this password opens, the newest first.

    Raises NotFound where none is held, NotAuthenticated where it opens none, or TooMany.
    """
    rows = _rows(database, owner)
    if not rows:
        raise NotFound("none of your keys is held here")
    opened = tuple(identity for _, identity in _opened(rows, password))
    if not opened:
        raise NotAuthenticated(WRONG)
    return opened


def change_password(database: Database, owner: Endpoint, old: str, new: str) -> int:
    """Seals the keys that the old password opens with the new one; returns how many they were.

    All of them, or none. Raises Malformed as ``give`` does, or TooMany.
    """
    if not 0 < len(new) <= MAX_PASSWORD or not _is_text(new):
        raise Malformed(f"a password has 1 to {MAX_PASSWORD} characters")
    rows = _rows(database, owner)
    # The slow part comes first: no writer waits for it.
    resealed = []
    for row, identity in _opened(rows, old):
        with _turns.one():
            resealed.append((row, _sealed(identity.text().encode(), new)))
    with database.transaction() as connection:
        for row, sealed in resealed:
            connection.execute(
                update(held_keys)
                .where(
                    held_keys.c.owner == str(owner.canonical),
                    held_keys.c.recipient == row.recipient,
                    held_keys.c.sealed == row.sealed,
                )
                .values(sealed=sealed)
            )
    return len(resealed)


def forget(database: Database, owner: Endpoint) -> None:
    """Forgets the keys of somebody whose account is removed."""
    with database.transaction() as connection:
        connection.execute(delete(held_keys).where(held_keys.c.owner == str(owner.canonical)))


@dataclass(frozen=True, slots=True)
class _Row:
    recipient: str
    sealed: bytes


def _rows(database: Database, owner: Endpoint) -> list[_Row]:
    with database.reading() as connection:
        found = connection.execute(
            select(held_keys.c.recipient, held_keys.c.sealed)
            .where(held_keys.c.owner == str(owner.canonical))
            .order_by(held_keys.c.added_at.desc(), held_keys.c.recipient)
        ).all()
    return [_Row(row.recipient, row.sealed) for row in found]


def _opened(rows: Sequence[_Row], password: str) -> "list[tuple[_Row, Identity]]":
    """Those of these keys that the password opens."""
    from xhmtp_wsgi.protocol.sealing import Identity, Passphrase, unseal

    if len(password) > MAX_PASSWORD or not _is_text(password):
        return []
    passphrase = Passphrase(password, max_work_factor=WORK_FACTOR)
    found = []
    for row in rows:
        # Between two of them, another's turn may come.
        with _turns.one():
            try:
                octets = b"".join(unseal([row.sealed], [passphrase]))
            except NotSealedToThese:
                continue
            except (MalformedSeal, SealBroken) as error:
                # It is no reason to leave the others closed.
                logger.error("a key that is held for somebody is damaged: %s", error)
                continue
        found.append((row, Identity.parse(octets.decode("ascii", "replace"))))
    return found


def _sealed(octets: bytes, password: str) -> bytes:
    from xhmtp_wsgi.protocol.sealing import seal_with_passphrase

    return b"".join(seal_with_passphrase([octets], password, WORK_FACTOR))


def _is_text(password: str) -> bool:
    """Can it be written as octets? What comes as JSON need not be."""
    try:
        password.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _Turns:
    """One at a time in a process, also in one that was forked while another took its turn."""

    def __init__(self) -> None:
        self._start_afresh()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Waits for a turn. Raises TooMany."""
        if self._process != os.getpid():
            self._start_afresh()
        lock = self._lock
        if not lock.acquire(timeout=TURN_WAIT):
            raise TooMany("other passwords are being looked at just now", BUSY_FOR)
        try:
            yield
        finally:
            lock.release()

    def _start_afresh(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()


_turns = _Turns()
