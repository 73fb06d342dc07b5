"""One gunicorn with some application, as a peer of ours: same workers, same threads."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.two_sites import GUNICORN
from tests.live.servers import BIN, answers, free_port, until


@dataclass
class GunicornSite:
    """It, running."""

    address: str
    port: int
    process: "subprocess.Popen[bytes]"

    def workers(self) -> list[int]:
        """Its workers' processes."""
        parent = self.process.pid
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        return [int(child) for child in found.split()]


@contextmanager
def gunicorn_site(
    application: str,
    *options: str,
    address: str = "127.0.0.5",
    environment: Mapping[str, str] | None = None,
) -> Iterator[GunicornSite]:
    """Runs it. ``application``: as gunicorn takes it; ``options``: by default two workers."""
    port = free_port(address)
    process = subprocess.Popen(
        [str(BIN / "gunicorn"), "--bind", f"{address}:{port}", "--no-control-socket",
         "--log-level", "error", *(options or GUNICORN), application],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **(environment or {})},
        stdin=subprocess.DEVNULL, stdout=sys.stderr,
    )  # fmt: skip
    try:
        until(lambda: answers(f"http://{address}:{port}/"), "gunicorn answers")
        yield GunicornSite(address, port, process)
    finally:
        process.terminate()
        process.wait(timeout=30)
