"""Counters for monitoring: kept in the database, so that they hold over processes and restarts.

The notifier writes its counts in the transaction that records its results. A web process counts in
memory and writes some seconds later, on a thread of its own, so that no request waits for it: what
a killed process counted last is lost, and nothing else depends on it.
"""

import logging
import os
import threading
from collections import Counter
from collections.abc import Mapping

from sqlalchemy import Column, Connection, Double, Table, Text, TextClause, select, text

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Transient
from xhmtp_wsgi.schema import metadata

logger = logging.getLogger(__name__)

WRITTEN_AFTER = 5.0  # seconds

counters = Table(
    "counter",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Double, nullable=False),
)

# Both kinds of database understand these.
_ADD = text(
    "INSERT INTO counter (name, value) VALUES (:name, :value) "
    "ON CONFLICT (name) DO UPDATE SET value = counter.value + excluded.value"
)
_PUT = text(
    "INSERT INTO counter (name, value) VALUES (:name, :value) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)


def add(connection: Connection, amounts: Mapping[str, float]) -> None:
    """Adds to the counters of those names, within the caller's transaction."""
    _write(connection, _ADD, amounts)


def put(connection: Connection, values: Mapping[str, float]) -> None:
    """Sets values, such as the time of the last pass, within the caller's transaction."""
    _write(connection, _PUT, values)


def read(database: Database) -> dict[str, float]:
    """All of them, by name."""
    with database.reading() as connection:
        found = connection.execute(select(counters.c.name, counters.c.value))
        return {row.name: row.value for row in found}


class ProcessCounters:
    """What one process has counted and not written yet. Safe for several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._counted: Counter[str] = Counter()
        self._timer: threading.Timer | None = None
        self._process = os.getpid()

    def count(self, name: str) -> None:
        """Counts one more."""
        if self._process != os.getpid():
            # The parent's counts, and its timer's thread, are the parent's.
            self._lock, self._timer = threading.Lock(), None
            self._counted.clear()
            self._process = os.getpid()
        with self._lock:
            self._counted[name] += 1
            if self._timer is None:
                self._timer = threading.Timer(WRITTEN_AFTER, self.write)
                self._timer.daemon = True
                self._timer.start()

    def write(self) -> None:
        """Writes what was counted; keeps it for the next time where that cannot be done."""
        with self._lock:
            counted = dict(self._counted)
            self._counted.clear()
            self._timer = None
        if not counted:
            return
        try:
            with self._database.transaction() as connection:
                add(connection, counted)
        except Transient as error:
            logger.warning("counters are not written: %s", error)
            with self._lock:
                self._counted.update(counted)


def _write(connection: Connection, statement: TextClause, values: Mapping[str, float]) -> None:
    if not values:
        return
    # In one order always, so that two of us never wait for each other.
    connection.execute(
        statement, [{"name": name, "value": values[name]} for name in sorted(values)]
    )
