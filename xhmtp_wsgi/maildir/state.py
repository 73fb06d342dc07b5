"""What was brought into a Maildir before: a small SQLite file in it, used by one process at a time.

A message that its reader has deleted is known from here, and is not brought again.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from xhmtp_wsgi.errors import DatabaseUnavailable, StorageFull
from xhmtp_wsgi.maildir.files import STATE
from xhmtp_wsgi.protocol.endpoint import Endpoint

_FORM = 1
_TABLE = """
CREATE TABLE message (
    owner TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    seen INTEGER NOT NULL,
    starred INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    next_try_at REAL NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (owner, id)
)
"""


class Body(StrEnum):
    """What of a message is in the Maildir, or was."""

    WHOLE = "whole"
    HEADER = "header"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Brought:
    """A message as it was brought. ``seen``, ``starred``: as both sides had them at last.

    ``tries``, ``next_try_at`` (seconds since the epoch), ``reason``: of those that failed.
    """

    identifier: str
    body: Body
    seen: bool = False
    starred: bool = False
    tries: int = 0
    next_try_at: float = 0.0
    reason: str = ""


class FetchState:
    """The state of one owner's messages in one Maildir."""

    def __init__(self, connection: sqlite3.Connection, owner: Endpoint) -> None:
        self._connection = connection
        self._owner = str(owner.canonical)

    def all(self) -> dict[str, Brought]:
        """What is known, by ID."""
        found = self._connection.execute(
            "SELECT id, body, seen, starred, tries, next_try_at, reason FROM message "
            "WHERE owner = ?",
            (self._owner,),
        )
        return {
            row[0]: Brought(row[0], Body(row[1]), bool(row[2]), bool(row[3]), *row[4:])
            for row in found
        }

    def put(self, *brought: Brought) -> None:
        """Notes these; on disk when this returns."""
        with self._connection:
            self._connection.executemany(
                "INSERT OR REPLACE INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (self._owner, one.identifier, str(one.body), one.seen, one.starred, one.tries,
                     one.next_try_at, one.reason)
                    for one in brought
                ],
            )  # fmt: skip


@contextmanager
def fetch_state(maildir: Path, owner: Endpoint) -> Iterator[FetchState]:
    """The state in that Maildir. Raises DatabaseUnavailable, or StorageFull."""
    path = maildir / STATE
    try:
        with closing(sqlite3.connect(path)) as connection:
            (form,) = connection.execute("PRAGMA user_version").fetchone()
            if form not in (0, _FORM):
                raise DatabaseUnavailable(f"{path} is of a newer xhmtp")
            if form == 0:
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute(_TABLE)
                    connection.execute(f"PRAGMA user_version = {_FORM}")
            yield FetchState(connection, owner)
    except sqlite3.Error as error:
        if "full" in str(error):
            raise StorageFull(f"there is no room left for {path}") from None
        raise DatabaseUnavailable(f"{path} cannot be used: {error}", str(error)) from None
