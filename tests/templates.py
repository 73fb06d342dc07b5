"""Databases whose tables are there already: made once a process, then copied for each test.

Most tests are of what is done with the tables, and not of how they come about (test_database is).
"""

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import psycopg

from xhmtp_wsgi.database import Database


def copy_sqlite(file: Path) -> None:
    """Puts a database with tables there, unless one is there."""
    if not file.exists():
        shutil.copyfile(_sqlite(), file)
        file.chmod(0o600)


@cache
def _sqlite() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="xhmtp-template-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    file = directory / "template.db"
    made = Database(f"sqlite:///{file}")
    made.upgrade()
    made.close()
    return file


def emptied_postgresql(server: str) -> str:
    """A database of this process's on that server, with tables and nothing in them; its URL.

    One for all tests, one after another: to make and drop a database takes longer than most tests.
    """
    url = _postgresql(server)
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "SELECT quote_ident(tablename) FROM pg_tables "
            "WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        ).fetchall()
        # In any order: who refers to whom is not looked at.
        deleting = "".join(f"DELETE FROM {name};" for (name,) in tables)
        connection.execute(f"SET session_replication_role = replica; {deleting}".encode())
    return url


@cache
def _postgresql(server: str) -> str:
    name = f"xhmtp_test_of_{os.getpid()}"

    def drop() -> None:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    drop()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        # Nothing is lost but by a crash of the server, and no test of these makes one.
        connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    atexit.register(drop)
    url = server.rsplit("/", 1)[0] + f"/{name}"
    made = Database(url.replace("postgresql://", "postgresql+psycopg://"))
    made.upgrade()
    made.close()
    return url
