"""Row 5: fetching a message, against nginx that serves a file behind auth_basic.

python -m benchmarks.fetching [--quick] [--rounds 5]

4 KiB: wrk asks for one message again and again over eight connections, with its recipient's access
code; messages a second. 100 MB: curl fetches it once; MB a second. Ours is gunicorn with two
workers of eight threads each, nothing before it; nginx has two workers, and its password is kept in
plain text, so that checking it costs nothing. The third line is what gunicorn itself gives: an
application that only answers.
"""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import Asked, main
from benchmarks.figures import Goal, Line, series
from benchmarks.gunicorn_site import gunicorn_site
from benchmarks.interleaved import interleaved
from benchmarks.measuring_directory import measuring_directory
from benchmarks.nginx import files_with_password, nginx
from benchmarks.programs import program
from benchmarks.two_sites import SENDER, TwoSites, two_sites
from benchmarks.written_messages import message
from benchmarks.wrk import rate_of
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.sender.injection import submit
from xhmtp_wsgi.sender.tables import deliveries

ROW, TITLE = 5, "Message fetch"
READER = "bob@b.test"
SMALL, LARGE = 4096, 100_000_000


@dataclass(frozen=True, slots=True)
class Fetched:
    """Something that is fetched: its URL and the log-in for it."""

    url: str
    credentials: str

    def small(self, directory: Path, seconds: int) -> float:
        """Answers a second."""
        headers = [("Authorization", self.credentials)] if self.credentials else []
        return rate_of(self.url, directory, headers=headers, seconds=seconds)

    def large(self, size: int) -> float:
        """MB a second."""
        begun = time.perf_counter()
        done = subprocess.run(
            [program("curl", "curl"), "--silent", "--fail", "--noproxy", "*", "-o", "/dev/null",
             "-w", "%{size_download}", "-H", f"Authorization: {self.credentials}", self.url],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        taken = time.perf_counter() - begun
        if int(done.stdout) < size:
            raise RuntimeError(f"{done.stdout} octets came")
        return int(done.stdout) / 1e6 / taken


def put_ours(sites: TwoSites, octets: bytes) -> Fetched:
    """A message in the outbox."""
    stored = submit(sites.here, [octets], SENDER, None).message
    with sites.here.database.reading() as connection:
        code = connection.execute(
            deliveries.select().where(deliveries.c.message == stored.identifier)
        ).one().code  # fmt: skip
    url = f"{sites.a.url}/xhmtp/{stored.path_name}/{stored.identifier}"
    return Fetched(url, basic_credentials(READER, code))


def measure(asked: Asked) -> list[Line]:
    """Both sizes. Raises NotMeasured."""
    seconds, large = (1, 1_000_000) if asked.quick else (5, LARGE)
    for name in ("wrk", "curl"):
        program(name, name)
    with measuring_directory() as directory, two_sites(directory / "ours") as sites:
        files = directory / "files"
        files.mkdir()
        credentials = basic_credentials(READER, "secret")
        both = {}
        with nginx(directory / "nginx", files_with_password(files, READER, "secret")) as server:
            for name, size in (("small", SMALL), ("large", large)):
                octets = message([READER], size)
                (files / name).write_bytes(octets)
                there = Fetched(f"http://{server.address}:{server.port}/{name}", credentials)
                both[name] = put_ours(sites, octets), there
            with gunicorn_site("benchmarks.bare_application:four_kib") as bare_site:
                bare = Fetched(f"http://{bare_site.address}:{bare_site.port}/", "")
                small = interleaved(
                    {
                        "ours": lambda: both["small"][0].small(directory, seconds),
                        "nginx": lambda: both["small"][1].small(directory, seconds),
                        "bare": lambda: bare.small(directory, seconds),
                    },
                    asked.rounds_or(5),
                    warm_up=not asked.quick,
                )
            big = interleaved(
                {
                    "ours": lambda: both["large"][0].large(large),
                    "nginx": lambda: both["large"][1].large(large),
                },
                asked.rounds_or(5),
                warm_up=not asked.quick,
            )
    ours = series(small["ours"])
    return [
        Line(ROW, "4 KiB", "messages/s", ours, "nginx", series(small["nginx"]), Goal(0.5)),
        Line(ROW, "4 KiB, and gunicorn itself", "messages/s", ours, "bare WSGI",
             series(small["bare"])),
        Line(ROW, f"{large // 1_000_000} MB", "MB/s", series(big["ours"]), "nginx",
             series(big["nginx"]), Goal(0.8)),
    ]  # fmt: skip


if __name__ == "__main__":
    main(ROW, TITLE, measure, __doc__)
