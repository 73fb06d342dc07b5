"""A PostgreSQL server of a test's own, to be stopped, frozen and thawed."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.live.servers import free_port, until


@dataclass
class OwnPostgreSQL:
    """The server; nothing of it survives the test."""

    directory: Path
    address: str = "127.0.0.1"
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@{self.address}:{self.port}/postgres"

    def start(self) -> None:
        """Starts it, with an empty database the first time."""
        data = self.directory / "data"
        if not data.exists():
            self._run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", str(data)).wait()
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write("host all,replication all samenet trust\n")
        self.process = self._run(
            "postgres", "-D", str(data), "-p", str(self.port), "-k", str(self.directory),
            "-c", f"listen_addresses={self.address}", "-c", "fsync=off",
            *(word for option in self.options for word in ("-c", option)),
        )  # fmt: skip
        until(self._answers, "PostgreSQL answers")

    def copy(self, primary: "OwnPostgreSQL") -> None:
        """Makes it a standby of that server, before it is started."""
        data = str(self.directory / "data")
        place = ("-h", primary.address, "-p", str(primary.port), "-U", "postgres")
        copying = self._run("pg_basebackup", *place, "-D", data, "-R", "-c", "fast", "--no-sync")
        assert copying.wait(120) == 0, "the copy is made"

    def stop(self) -> None:
        """Ends it, whoever is connected."""
        if self.process is not None:
            with suppress(ProcessLookupError, FileNotFoundError):
                self.thaw()
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=30)
            self.process = None

    def freeze(self) -> None:
        """It takes connections, as the kernel does that for it, and answers nothing."""
        for process in self._processes():
            os.kill(process, signal.SIGSTOP)

    def thaw(self) -> None:
        """It answers again."""
        for process in self._processes():
            os.kill(process, signal.SIGCONT)

    def _processes(self) -> list[int]:
        """The server, which starts the others, and then those."""
        assert self.process is not None
        first = self.process.pid
        children = Path(f"/proc/{first}/task/{first}/children").read_text()
        return [first, *map(int, children.split())]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        # The server refuses to run as root.
        user: dict[str, Any] = {"user": "postgres", "group": "postgres"} if not os.getuid() else {}
        return subprocess.Popen(
            [_binary(program), *arguments], cwd=self.directory,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user,
        )  # fmt: skip


def _binary(program: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    if not found:
        pytest.skip("Debian's postgresql is not installed (.ci/run installs it)")
    return str(found[-1])


@contextmanager
def own_postgresql(
    address: str = "127.0.0.1", options: tuple[str, ...] = ()
) -> Iterator[OwnPostgreSQL]:
    """A server, started, and ended whatever happens; ``options``: such as ``fsync=on``."""
    directory = Path(tempfile.mkdtemp(prefix="xhmtp-postgresql-"))
    if not os.getuid():
        shutil.chown(directory, "postgres", "postgres")
    server = OwnPostgreSQL(directory, address, options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def standby_of(primary: OwnPostgreSQL) -> Iterator[OwnPostgreSQL]:
    """A second server that has all that the first has committed before it says so."""
    directory = Path(tempfile.mkdtemp(prefix="xhmtp-standby-"))
    if not os.getuid():
        shutil.chown(directory, "postgres", "postgres")
    server = OwnPostgreSQL(directory)
    try:
        server.copy(primary)
        server.start()
        with psycopg.connect(primary.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
        until(lambda: _is_in_step(primary), "the standby is in step")
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _is_in_step(primary: OwnPostgreSQL) -> bool:
    with psycopg.connect(primary.url) as connection:
        found = connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall()
    return found == [("sync",)]
