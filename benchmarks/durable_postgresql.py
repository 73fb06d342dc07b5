"""A PostgreSQL of the benchmarks' own, with its defaults: what is committed is on disk."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.figures import NotMeasured
from tests.live.own_postgresql import OwnPostgreSQL
from xhmtp_wsgi.database import Database


class DurablePostgreSQL(OwnPostgreSQL):
    """The tests' own server, without what they save at durability."""

    def new_database(self, name: str) -> str:
        """An empty database with our tables; its URL for our settings."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        url = self.plain_url(name).replace("postgresql://", "postgresql+psycopg://")
        made = Database(url)
        made.upgrade()
        made.close()
        return url

    def plain_url(self, name: str) -> str:
        """The URL of a database for psycopg itself."""
        return self.url.rsplit("/", 1)[0] + f"/{name}"

    def _run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        given = ["fsync=on" if one == "fsync=off" else one for one in arguments]
        return super()._run(program, *given)


@contextmanager
def durable_postgresql(directory: Path) -> Iterator[DurablePostgreSQL]:
    """A server, started, and ended whatever happens. Raises NotMeasured."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        raise NotMeasured("there is no PostgreSQL: apt-get install postgresql")
    directory.mkdir()
    shutil.chown(directory, "postgres", "postgres")
    server = DurablePostgreSQL(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()
