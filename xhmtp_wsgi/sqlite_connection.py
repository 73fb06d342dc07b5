"""What a connection to an SQLite is set to, and how its transactions begin.

In WAL mode with synchronous=FULL: readers are never held up, and what was committed is on the disk.
A writer takes the lock when his transaction begins, so that he never reads what another is about
to change.
"""

import sqlite3
import time
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT = 10.0  # seconds that a writer waits for another of this process, or of others
LOOK = 0.0005  # seconds between two looks whether another process has ended its writing
CACHE = 256
"""KiB of pages that each connection keeps; a process has up to 64 of them.

The file is in the system's own cache besides: with SQLite's default, 2 MiB, the notifier needed as
much processor time, and 2 to 6 MB more.
"""


def prepare(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    """Sets up a new connection."""
    # None: the driver starts no transactions of its own; begin() does.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA cache_size = -{CACHE}")
    cursor.close()


def begin(connection: Connection, *, writing: bool) -> None:
    """Begins a transaction. Raises DBAPIError, as SQLAlchemy does."""
    # By the driver itself: this is done for every transaction, and SQLAlchemy's way costs twice.
    driver: Any = connection.connection.driver_connection
    try:
        if writing:
            _begin_writing(driver)
        else:
            driver.execute("BEGIN")
    except sqlite3.Error as error:
        raise DBAPIError.instance("BEGIN", None, error, sqlite3.Error) from error


def _begin_writing(driver: sqlite3.Connection) -> None:
    """Waits for the writers of other processes as those of this one wait: not much too long.

    SQLite itself sleeps for up to 100 ms between two looks at its lock, which is free for a moment
    every few milliseconds where there is much to write.
    """
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        end = time.monotonic() + BUSY_TIMEOUT
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(LOOK)
            else:
                return
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
