"""Row 8: what does XHMTP cost the site's own requests? A hello-world site with it, and without.

    python -m benchmarks.middleware_overhead [--quick] [--rounds 30] [--size 10000]

Two gunicorns with one sync worker each run side by side, and are asked in turns: in rounds of a
second by wrk (Debian's; else by a plain client of our own), and request by request, ``--size``
pairs of them. Other work on the machine disturbs the rounds; the processor time that the workers
spent, and the medians of the single requests, hardly. Last, measured in this process, what one call
costs by itself. The prefix comes from a name server on loopback, as where nothing is settled: that
is the costlier way. At most 2 per cent is what is promised.
"""

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks.command import Asked, main
from benchmarks.figures import Goal, Line, Series, series
from demonstration.name_server import NameServer
from xhmtp_wsgi import XHMTP

ROW, TITLE = 8, "The site's own requests"
ZONE = '_prefix._xhmtp.a.example. 3600 TXT "xhmtp"\n'
BODY = b"Hello, world!\n"
WRK = shutil.which("wrk") or ""
CONNECTIONS = 2
CHUNK = 50  # requests between two looks at the processor time
CALLS, CALL_ROUNDS = 20_000, 31


def hello(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The site."""
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]
    start_response("200 OK", headers)
    return [BODY]


def with_xhmtp() -> Any:
    """The site with XHMTP around it, as gunicorn loads it."""
    return XHMTP(hello, os.environ["XHMTP_CONFIG"])


@dataclass
class Worker:
    """A gunicorn with one worker, and what was measured of it."""

    application: str
    settings: Path
    port: int
    rates: list[float] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Starts it, and ends it whatever happens."""
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}",
             "--no-control-socket", "--log-level", "error", self.application],
            env={**os.environ, "XHMTP_CONFIG": str(self.settings)},
        )  # fmt: skip
        try:
            while True:
                try:
                    get(self.port)
                    break
                except OSError:
                    time.sleep(0.05)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            self._statistics = Path(f"/proc/{children.split()[0]}/schedstat")
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)

    def measure(self, load: Callable[[int], int]) -> None:
        """One round."""
        start = time.perf_counter()
        requests = load(self.port)
        self.rates.append(requests / (time.perf_counter() - start))

    def processor_time(self) -> float:
        """What its worker has had, in microseconds."""
        return int(self._statistics.read_text().split()[0]) / 1e3


def get(port: int) -> None:
    """One request, one connection, as a sync worker has it."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /page HTTP/1.1\r\nHost: a.example\r\n\r\n")
        answer = b""
        while octets := connection.recv(65536):
            answer += octets
    if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(BODY):
        raise RuntimeError(f"not what the site says: {answer[:80]!r}")


def by_ourselves(port: int) -> int:
    """How many requests were answered in a second."""
    count, end = 0, time.perf_counter() + 1
    while time.perf_counter() < end:
        get(port)
        count += 1
    return count


def by_wrk(port: int) -> int:
    """The same, by wrk."""
    done = subprocess.run(
        [WRK, "-t1", f"-c{CONNECTIONS}", "-d1s", f"http://127.0.0.1:{port}/page"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"(\d+) requests in", done.stdout)
    if found is None or "Non-2xx" in done.stdout:
        raise RuntimeError(done.stdout)
    return int(found[1])


def environ() -> dict[str, Any]:
    """A request as gunicorn hands it on."""
    return {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/a/page", "QUERY_STRING": "",
        "SERVER_NAME": "a.example", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "a.example", "HTTP_ACCEPT": "*/*", "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr, "wsgi.multithread": False, "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }  # fmt: skip


def microseconds_per_call(applications: Iterable[Any]) -> list[list[float]]:
    """For each application, what a call took in each of many rounds, taken in turns."""
    taken: list[list[float]] = [[] for _ in applications]
    request = environ()

    def start_response(*_: Any) -> None:
        return None

    for _ in range(CALL_ROUNDS):
        for application, found in zip(applications, taken, strict=True):
            start = time.perf_counter()
            for _ in range(CALLS):
                application(request, start_response)
            found.append((time.perf_counter() - start) / CALLS * 1e6)
    return taken


def settings(directory: Path, name_server: str) -> Path:
    """Those of an agent whose prefix the DNS tells."""
    file = directory / "xhmtp.toml"
    file.write_text(f'resolver = ["{name_server}"]\n[domain."a.example"]\n')
    return file


def free_port() -> int:
    """One that nothing answers on, at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def load_line(bare: Worker, wrapped: Worker) -> Line:
    """What two workers took in rounds."""
    return Line(
        ROW, "requests that two connections get answered", "requests/s", series(wrapped.rates),
        "the site alone", series(bare.rates), Goal(0.98),
    )  # fmt: skip


def pair_lines(bare: Worker, wrapped: Worker, pairs: int) -> list[Line]:
    """What single requests took, one here, one there."""
    workers = (bare, wrapped)
    taken: tuple[list[float], list[float]] = ([], [])
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(pairs // CHUNK):
        before = [worker.processor_time() for worker in workers]
        for number in range(CHUNK):
            for place in (0, 1) if number % 2 else (1, 0):
                start = time.perf_counter()
                get(workers[place].port)
                taken[place].append((time.perf_counter() - start) * 1e6)
        for worker, start, found in zip(workers, before, spent, strict=True):
            found.append((worker.processor_time() - start) / CHUNK)
    return [
        Line(ROW, what, "microseconds", middle_half(with_it), "the site alone",
             middle_half(without), Goal(1.02, at_least=False))
        for what, (without, with_it) in (
            (f"a request from outside, {pairs:,} pairs", taken),
            ("the worker's processor time for it", spent),
        )
    ]  # fmt: skip


def middle_half(values: Sequence[float]) -> Series:
    """Median and quartiles: of thousands of requests the slowest says nothing."""
    return series(quantiles(values, n=4))


def call_line(file: Path) -> Line:
    """What one call costs by itself, in this process."""
    site = XHMTP(hello, file)
    site(environ(), lambda *_: None)
    one, other = microseconds_per_call([hello, site])
    site.agent.database.close()
    costs = [after - before for before, after in zip(one, other, strict=True)]
    return Line(ROW, "one call in this process: more by", "microseconds", middle_half(costs))


def measure(asked: Asked) -> list[Line]:
    """All three ways."""
    load = by_wrk if WRK else by_ourselves
    rounds = asked.rounds or (2 if asked.quick else 30)
    pairs = asked.size or (100 if asked.quick else 10_000)
    with tempfile.TemporaryDirectory() as name, NameServer(ZONE) as server:
        file = settings(Path(name), f"127.0.0.1:{server.port}")
        bare = Worker("benchmarks.middleware_overhead:hello", file, free_port())
        wrapped = Worker("benchmarks.middleware_overhead:with_xhmtp()", file, free_port())
        with bare.running(), wrapped.running():
            for number in range(rounds):
                # In turns, and neither always first.
                for worker in (bare, wrapped) if number % 2 else (wrapped, bare):
                    worker.measure(load)
            lines = [load_line(bare, wrapped), *pair_lines(bare, wrapped, pairs)]
        return [*lines, call_line(file)]


if __name__ == "__main__":
    main(ROW, TITLE, measure, __doc__)
