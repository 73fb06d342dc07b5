"""The database: one engine a process, and two kinds of transaction.

The rooms above use ``transaction()`` to write and
``reading()`` to read. On SQLite a writer takes the lock when its transaction starts, so that it
never reads what another is about to change; readers are never held up (WAL). What was committed
is on the disk (synchronous=FULL). PostgreSQL gets the same code.

Security: no error that leaves here holds a statement or its values.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Engine, Table, create_engine, event, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.schema import CreateSchema

from xhmtp_wsgi.errors import DatabaseUnavailable, SchemaOutdated, StorageFull
from xhmtp_wsgi.schema import SCHEMA
from xhmtp_wsgi.sqlite_connection import BUSY_TIMEOUT, begin, prepare
from xhmtp_wsgi.sqlite_file import stay_with

logger = logging.getLogger(__name__)


class Database:
    """One database, opened when first used, and again in a process that was forked since."""

    def __init__(self, url: str, schema: str = "") -> None:
        """``url``: as SQLAlchemy takes it; SQLite or PostgreSQL through psycopg.

        ``schema``: where the tables are in a PostgreSQL; the user's own where it is empty.
        """
        self._url = make_url(url)
        self._schema = schema
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._engine: Engine | None = None
        self._process = 0
        self._checked = False
        self.opened_before_fork = False
        """Was it in use before this process was forked? That is mended here, but costs."""

    @property
    def is_sqlite(self) -> bool:
        """Is it SQLite?"""
        return self._url.get_backend_name() == "sqlite"

    @property
    def file(self) -> Path | None:
        """The file that holds it, if one does."""
        return Path(self._url.database) if self.is_sqlite and self._url.database else None

    def transaction(self) -> AbstractContextManager[Connection]:
        """A connection on which everything is written, or nothing.

        Raises DatabaseUnavailable, SchemaOutdated or StorageFull; then nothing was written.
        """
        return self._connection(writing=True)

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to read one consistent state from; holds up no writer. Raises likewise."""
        return self._connection(writing=False)

    def upgrade(self) -> None:
        """Brings the tables up to date; safe to be called by several processes at once."""
        from xhmtp_wsgi.migrations import upgrade

        with (
            _translated(),
            self.engine().connect() as connection,
            _begun(connection, writing=True),
            _as_long_as_it_takes(connection),
        ):
            if not self.is_sqlite:
                # SQLite's writer lock does this by itself.
                connection.execute(text("SELECT pg_advisory_xact_lock(7836012953)"))
                if self._schema:
                    connection.execute(CreateSchema(self._schema, if_not_exists=True))
            upgrade(connection)
        self._checked = True

    def close(self) -> None:
        """Closes all connections; the next use opens it again."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
            self._engine = None

    def engine(self) -> Engine:
        """The engine of this process."""
        with self._lock:
            if self._engine is not None and self._process != os.getpid():
                # The parent's connections are its own: drop them here without closing them.
                self.opened_before_fork = True
                self._engine.dispose(close=False)
                self._engine = None
            if self._engine is None:
                self._engine = self._open()
                self._turn = threading.Lock()
                self._process = os.getpid()
            return self._engine

    @contextmanager
    def _connection(self, *, writing: bool) -> Iterator[Connection]:
        with _translated():
            self._check_schema()
            engine = self.engine()
            with (
                self._turn_to_write() if writing and self.is_sqlite else nullcontext(),
                engine.connect() as connection,
                _begun(connection, writing=writing),
            ):
                yield connection

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """SQLite's writers of this process wait for each other here.

        Where it is SQLite that they wait in, each sleeps for ever longer between two looks at its
        lock, and whoever comes meanwhile goes first: of sixteen, some waited for over ten seconds.
        """
        turn = self._turn
        if not turn.acquire(timeout=BUSY_TIMEOUT):
            raise DatabaseUnavailable("the database is too busy just now")
        try:
            yield
        finally:
            turn.release()

    def _check_schema(self) -> None:
        """Refuses tables of another version; makes them where the database is empty."""
        if self._checked:
            return
        version = self.version()
        if version is None:
            self.upgrade()
        elif version != SCHEMA:
            raise SchemaOutdated(
                f"the database has version {version} of the tables, this program wants {SCHEMA}; "
                "run 'xhmtp db upgrade' with the newest program"
            )
        self._checked = True

    def version(self) -> str | None:
        """The version of the tables that are there; None in an empty database. Changes nothing."""
        with _translated():
            return self._found_version()

    def _found_version(self) -> str | None:
        engine = self.engine()
        with engine.connect() as connection:
            if not engine.dialect.has_table(connection, "alembic_version"):
                return None
            found: str | None = connection.execute(
                text("SELECT version_num FROM alembic_version")
            ).scalar()
            return found

    def _open(self) -> Engine:
        if not self.is_sqlite:
            place = {"options": f"-csearch_path={self._schema}"} if self._schema else {}
            from xhmtp_wsgi.postgresql_connection import bound

            engine = create_engine(
                self._url, pool_pre_ping=True, pool_size=8, max_overflow=16, connect_args=place
            )
            bound(engine)
            return engine
        self._make_private()
        # That which was used last comes first: what it keeps is fresh, and others keep little.
        engine = create_engine(
            self._url, pool_size=8, max_overflow=56, pool_timeout=BUSY_TIMEOUT, pool_use_lifo=True
        )
        event.listen(engine, "connect", prepare)
        if self.file is not None and str(self.file) != ":memory:":
            stay_with(engine, self.file)
        return engine

    def _make_private(self) -> None:
        """A new file is its owner's alone: it holds messages and access codes."""
        if self.file is None or str(self.file) == ":memory:" or self.file.exists():
            return
        # Where it cannot be made, SQLite itself says so.
        with suppress(OSError):
            os.close(os.open(self.file, os.O_CREAT | os.O_EXCL, 0o600))


def insert_or(connection: Connection, table: Table) -> sqlite.Insert:
    """An INSERT that can say what becomes of a row that is there: ``on_conflict_do_...``.

    Both kinds of database have it, in the same words.
    """
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    # It takes 2 MB, for which SQLite's sites have no use.
    from sqlalchemy.dialects import postgresql

    return cast(sqlite.Insert, postgresql.insert(table))


@contextmanager
def _begun(connection: Connection, *, writing: bool) -> Iterator[None]:
    """A transaction. Not a listener's work: with one, SQLAlchemy does more for each statement."""
    with connection.begin():
        if connection.dialect.name == "sqlite":
            begin(connection, writing=writing)
        yield


@contextmanager
def _as_long_as_it_takes(connection: Connection) -> Iterator[None]:
    """A change of large tables is silent for long."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        yield
        return
    driver.answer_timeout = None
    try:
        yield
    finally:
        del driver.answer_timeout


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if _is_full(error):
            logger.error("the database has no room left")
            raise StorageFull("there is no room left to store it") from None
        if error.connection_invalidated or _is_passing(error):
            # The driver's own text, without the statement and its values.
            reason = str(error.orig).splitlines()[0]
            logger.error("the database cannot be used: %s", reason)
            raise DatabaseUnavailable("the database cannot be used just now", reason) from None
        raise
    except PoolTimeout:
        raise DatabaseUnavailable("the database is too busy just now") from None


def _is_full(error: DBAPIError) -> bool:
    if getattr(error.orig, "sqlstate", None) == "53100":
        return True
    return getattr(error.orig, "sqlite_errorname", "") == "SQLITE_FULL"


def _is_passing(error: DBAPIError) -> bool:
    """Is it the database that is at fault, not what was asked of it?"""
    if isinstance(error, OperationalError | InternalError):
        return True
    name = getattr(error.orig, "sqlite_errorname", "")
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_READONLY"))
