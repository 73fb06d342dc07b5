"""Row 6: the feed of 50 items, out of a small mailbox and out of large ones; a poll with no news.

python -m benchmarks.feeds [--quick] [--rounds 200] [--size 1000000]

The mailboxes are in one SQLite database, filled as large_mailbox.py does; ``--size`` is that of the
largest. Single requests in turns, over a connection kept alive, to one gunicorn worker; then the
same in this process, without a web server. A poll has the ETag of the feed, and gets 304; its peer
is an application that answers 304 to everything.
"""

import http.client
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from webob import Request

from benchmarks.bare_application import unchanged
from benchmarks.command import Asked, main
from benchmarks.figures import Goal, Line, series
from benchmarks.gunicorn_site import gunicorn_site
from benchmarks.interleaved import interleaved
from benchmarks.large_mailbox import fill
from benchmarks.measuring_directory import measuring_directory
from xhmtp_wsgi import XHMTP
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.settings import Settings
from xhmtp_wsgi.wing import Environ, StartResponse

ROW, TITLE = 6, "Feed"
PASSWORD = "builder"
ONE_WORKER = ("--worker-class", "gthread", "--workers", "1", "--threads", "2", "--keep-alive", "60")
Fetch = Callable[[dict[str, str]], tuple[int, str]]


def over_http(address: str, port: int, path: str) -> tuple[http.client.HTTPConnection, Fetch]:
    """A connection kept alive, and a request over it: status and ETag."""
    connection = http.client.HTTPConnection(address, port, timeout=60)

    def fetch(headers: dict[str, str]) -> tuple[int, str]:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("ETag", "")

    return connection, fetch


def in_process(application: Callable[[Environ, StartResponse], object], path: str) -> Fetch:
    """A request without a web server."""

    def fetch(headers: dict[str, str]) -> tuple[int, str]:
        request = Request.blank(path, headers=headers)
        request.environ["REMOTE_ADDR"] = "192.0.2.99"
        answer = request.get_response(application)
        len(answer.body)
        return answer.status_int, answer.headers.get("ETag", "")

    return fetch


def timed(fetch: Fetch, headers: dict[str, str], expected: int) -> Callable[[], float]:
    """Milliseconds of one request."""

    def once() -> float:
        begun = time.perf_counter()
        status, _ = fetch(headers)
        taken = (time.perf_counter() - begun) * 1000
        if status != expected:
            raise RuntimeError(f"status {status}, not {expected}")
        return taken

    return once


def settings_file(directory: Path) -> Path:
    """Those of the agent with the mailboxes."""
    file = directory / "xhmtp.toml"
    file.write_text(
        f'database = "sqlite:///{directory}/xhmtp.db"\nmax_inbox = 1000000000\n'
        '[domain."b.example"]\nagent = "http://b.example"\nprefix = "xhmtp"\n'
    )
    return file


def measure(asked: Asked) -> list[Line]:
    """Over HTTP, and in process."""
    sizes = (100, 300, 500) if asked.quick else (1000, 100_000, asked.size or 1_000_000)
    rounds = asked.rounds or (3 if asked.quick else 200)
    with measuring_directory() as directory:
        file = settings_file(directory)
        site = XHMTP(unchanged, Settings.load(file))
        owners = {size: Endpoint.parse(f"user{size}@b.example") for size in sizes}
        for size, owner in owners.items():
            site.agent.accounts.add(owner, PASSWORD)
            fill(site.agent, owner, size)
        lines = _in_process(site, owners, rounds)
        site.agent.database.close()
        with (
            gunicorn_site("xhmtp_wsgi.wsgi:application", *ONE_WORKER,
                          environment={"XHMTP_CONFIG": str(file)}) as ours,
            gunicorn_site("benchmarks.bare_application:unchanged", *ONE_WORKER,
                          address="127.0.0.6") as bare,
        ):  # fmt: skip
            connection, poll_bare = over_http(bare.address, bare.port, "/feed")
            fetches = {}
            with closing(connection):
                for size, owner in owners.items():
                    path = f"/xhmtp/{owner}"
                    _, fetches[size] = over_http(ours.address, ours.port, path)
                return _lines("gunicorn", owners, fetches, poll_bare, rounds) + lines


def _in_process(site: XHMTP, owners: dict[int, Endpoint], rounds: int) -> list[Line]:
    fetches = {size: in_process(site, f"/xhmtp/{owner}") for size, owner in owners.items()}
    return _lines("in process", owners, fetches, in_process(unchanged, "/feed"), rounds)


def _lines(
    where: str,
    owners: dict[int, Endpoint],
    fetches: dict[int, Fetch],
    bare: Fetch,
    rounds: int,
) -> list[Line]:
    logins = {
        size: {"Authorization": basic_credentials(str(owner), PASSWORD)}
        for size, owner in owners.items()
    }
    sides = {}
    for size, fetch in fetches.items():
        status, etag = fetch(logins[size])
        if status != 200 or not etag:
            raise RuntimeError(f"the feed of {size}: {status}")
        sides[f"feed of {size:,}"] = timed(fetch, logins[size], 200)
        sides[f"poll of {size:,}"] = timed(fetch, {**logins[size], "If-None-Match": etag}, 304)
    sides["bare"] = timed(bare, {"If-None-Match": '"1"'}, 304)
    times = interleaved(sides, rounds, told=False)
    found = {name: series(values) for name, values in times.items()}
    smallest, *larger = owners
    return [
        *(
            Line(ROW, f"feed of 50 out of {size:,} ({where})", "ms", found[f"feed of {size:,}"],
                 f"out of {smallest:,}", found[f"feed of {smallest:,}"], Goal(1.2, at_least=False))
            for size in larger
        ),
        *(
            Line(ROW, f"poll with nothing new, of {size:,} ({where})", "ms",
                 found[f"poll of {size:,}"], "bare WSGI", found["bare"],
                 Goal(1.3, at_least=False) if where == "gunicorn" else None)
            for size in owners
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    main(ROW, TITLE, measure, __doc__)
