"""The file of an SQLite database, which may be deleted or replaced while it is open.

Whoever has it open writes on, to a file that nobody will find again: what was acknowledged would be
gone when the process ends. So each connection is looked at when it is taken. If another file is in
its place (a backup that was put back), that is opened; if none is, the database is gone, and is not
made anew: only a process that starts does that.
"""

import os
import sqlite3
from pathlib import Path

from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry


def stay_with(engine: Engine, path: Path) -> None:
    """Has each of the engine's connections lead to what is at that path by then."""
    was_there = False

    def opening(*_: object) -> None:
        if was_there and _identity(path) is None:
            raise sqlite3.OperationalError("the database's file is gone")

    def opened(_connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        nonlocal was_there
        was_there = True
        record.info["file"] = _identity(path)

    def taken(_connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        if record.info["file"] != _identity(path):
            raise DisconnectionError("the database's file is another by now")

    event.listen(engine, "do_connect", opening)
    event.listen(engine, "connect", opened)
    event.listen(engine, "checkout", taken)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - each request waits for it
    except OSError:
        return None
    return status.st_dev, status.st_ino
