"""A message of 200 MB passes through in pieces, never whole in memory, both ways."""

import hashlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.servers import PREFIX, AgentServer, Nsd, need, running

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("large")]

SIZE = 200_000_000
ALLOWED = 32 << 20  # octets by which the server's resident memory may grow


class MemoryWatch:
    """The largest resident memory of a server's processes, looked at a hundred times a second."""

    def __init__(self, parent: int) -> None:
        self.parent = parent
        self.peak = self.now()

    def now(self) -> int:
        children = Path(f"/proc/{self.parent}/task/{self.parent}/children").read_text().split()
        return max(self._resident(int(child)) for child in children)

    def _resident(self, process: int) -> int:
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(0.01):
                self.peak = max(self.peak, self.now())

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def test_a_message_of_200_mb_takes_less_than_32_mb_of_memory(tmp_path: Path, record_property):
    nsd = Nsd(tmp_path)
    a = AgentServer("a.example", "127.0.0.1", tmp_path / "a", nsd.port, forked=False)
    file = tmp_path / "large.eml"
    digest = _write(file)
    try:
        nsd.start({"a.example": a.zone()})
        a.must("xhmtp", "user", "add", "alice@a.example", "-", typed="wonderland\n")
        with running(a):
            _inject(a, _small(tmp_path))  # so that everything is imported and opened once
            assert a.process is not None
            watch = MemoryWatch(a.process.pid)
            before = watch.peak
            started = time.monotonic()
            with watch.watching():
                location = _inject(a, file)
                injected = time.monotonic() - started
                whole = _hash_of_fetch(a, location)
                part = a.curl(
                    "--user", "alice@a.example:wonderland",
                    "--range", "150000000-150000999", f"{a.url}{location}",
                ).stdout  # fmt: skip
            grown = watch.peak - before
    finally:
        nsd.stop()
    figures = f"grew by {grown / 2**20:.1f} MiB; injected in {injected:.1f} s"
    assert whole == digest
    with file.open("rb") as source:
        source.seek(150_000_000)
        assert part == source.read(1000)
    assert 0 < grown < ALLOWED, figures
    record_property("figures", figures)


def _write(file: Path) -> str:
    """A message of SIZE octets whose header needs nothing added; its digest."""
    head = (
        b"From: alice@a.example\r\nTo: bob@b.example\r\nSubject: large\r\n"
        b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <large@a.example>\r\n\r\n"
    )
    digest = hashlib.sha256()
    with file.open("wb") as target:
        written = 0
        line = b""
        while written < SIZE:
            line = head if not written else hashlib.sha256(line).hexdigest().encode() * 1024
            line = line[: SIZE - written]
            target.write(line)
            digest.update(line)
            written += len(line)
    return digest.hexdigest()


def _small(directory: Path) -> Path:
    file = directory / "small.eml"
    file.write_bytes(b"From: alice@a.example\r\nTo: bob@b.example\r\n\r\nfirst\r\n")
    return file


def _inject(server: AgentServer, file: Path) -> str:
    done = server.curl(
        "--user", "alice@a.example:wonderland", "--header", "Content-Type: message/rfc822",
        "--header", "Expect:", "--data-binary", f"@{file}",
        f"{server.url}/{PREFIX}/alice/?to=bob@b.example",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return f"/{PREFIX}/alice/{json.loads(done.stdout)['id']}"


def _hash_of_fetch(server: AgentServer, location: str) -> str:
    digest = hashlib.sha256()
    with subprocess.Popen(
        [need("curl"), "--silent", "--fail", "--user", "alice@a.example:wonderland",
         f"{server.url}{location}"],
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        while piece := process.stdout.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
