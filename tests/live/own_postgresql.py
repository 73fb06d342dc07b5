"""A PostgreSQL server of a test's own, to be stopped, frozen and thawed."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts it, with an empty database the first time."""
        data = self.directory / "data"
        if not data.exists():
            self._run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", str(data)).wait()
        self.process = self._run(
            "postgres", "-D", str(data), "-p", str(self.port), "-k", str(self.directory),
            "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
        )  # fmt: skip
        until(self._answers, "PostgreSQL answers")

    def stop(self) -> None:
        """Ends it, whoever is connected."""
        if self.process is not None:
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
def own_postgresql() -> Iterator[OwnPostgreSQL]:
    """A server, started, and ended whatever happens."""
    directory = Path(tempfile.mkdtemp(prefix="xhmtp-postgresql-"))
    if not os.getuid():
        shutil.chown(directory, "postgres", "postgres")
    server = OwnPostgreSQL(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
