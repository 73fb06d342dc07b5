"""Row 2: one message of 1 MiB to 100 recipients at another domain, against two Postfix instances.

python -m benchmarks.large_message [--quick] [--rounds 5]

Seconds until all recipients have been told, and until all have fetched the message too (100 GETs
over eight connections); Postfix is done when all have it in their Maildirs. Octets on disk: what
all processes of a side had written (/proc/PID/io, write_bytes less cancelled_write_bytes), with the
checkpoints of both SQLite databases, which are forced at the end. Octets over the network: what the
loopback interface has carried, from the first octet that is handed in; the row runs in a network
namespace of its own where it may, so that nobody else's octets are counted.
"""

import ctypes
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import Asked, main
from benchmarks.delivery_rate import wait_until_told
from benchmarks.figures import Goal, Line, series
from benchmarks.http_client import get, send_all
from benchmarks.interleaved import interleaved
from benchmarks.measuring_directory import measuring_directory
from benchmarks.postfix import TwoPostfixes, two_postfixes, wait_until_arrived
from benchmarks.process_tree import octets_written, written_by
from benchmarks.two_sites import TwoSites, add_recipients, two_sites
from benchmarks.written_messages import injections
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient import inbox

ROW, TITLE = 2, "1 MiB to 100 recipients at another domain"
CONNECTIONS = 8
LOOK = 0.02  # seconds between two looks at what has arrived
MIB = 1 << 20
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds; MiB on disk and over the network, until told and until fetched."""

    told: float
    fetched: float
    disk: float
    sent: float
    sent_with_fetching: float


def own_network() -> bool:
    """Moves this process into a network namespace of its own; may it?"""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(_NEW_NETWORK) != 0:
        return False
    return subprocess.run(["ip", "link", "set", "lo", "up"], check=False).returncode == 0


def carried() -> int:
    """Octets that loopback has carried, in this process's namespace."""
    # Not /sys, which shows the namespace in which it was mounted.
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == "lo":
            return int(rest.split()[8])
    raise RuntimeError("there is no loopback interface")


def ours(sites: TwoSites, recipients: list[str], size: int) -> Run:
    """Hands it in, waits until all are told, fetches it for each."""
    (request,) = injections(sites, 1, recipients, size)
    wanted = sites.arrived() + len(recipients)
    address, roots = (sites.a.address, sites.a.port), sites.processes()
    sites.go_on()
    written, before, begun = octets_written(roots), carried(), time.perf_counter()
    send_all(address, [request], connections=1, expected=201)
    wait_until_told(sites, wanted, every=LOOK)
    told, sent = time.perf_counter() - begun, carried() - before
    requests = [_fetching(sites, recipient) for recipient in recipients]
    begun = time.perf_counter()
    send_all(address, requests, connections=CONNECTIONS, expected=200)
    fetched = told + time.perf_counter() - begun
    sites.pause()
    all_sent = carried() - before
    disk = octets_written(roots) - written + _checkpoints(sites)
    return Run(told, fetched, disk / MIB, sent / MIB, all_sent / MIB)


def _fetching(sites: TwoSites, recipient: str) -> bytes:
    """The request for what came last for a recipient."""
    database, owner = sites.there.database, Endpoint.parse(recipient)
    last = inbox.state(database, owner).last_position
    (notice,) = inbox.page(database, owner, newest=last, limit=1)
    url = MessageURL.parse(notice.url)
    credentials = basic_credentials(str(url.recipient), url.code)
    return get(
        f"/{url.path.lstrip('/')}", f"{url.host}:{url.port}", [("Authorization", credentials)]
    )


def _checkpoints(sites: TwoSites) -> int:
    """Brings the write-ahead logs into their databases; the octets that this has written."""
    before = written_by(os.getpid())
    for agent in (sites.here, sites.there):
        assert agent.database.file is not None
        with closing(sqlite3.connect(agent.database.file, timeout=10)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return written_by(os.getpid()) - before


def theirs(postfix: TwoPostfixes, recipients: int, size: int) -> Run:
    """The same by SMTP."""
    postfix.empty()
    roots = postfix.processes()
    written, before, begun = octets_written(roots), carried(), time.perf_counter()
    postfix.submit(1, size, 1, recipients)
    wait_until_arrived(postfix, recipients, every=LOOK)
    taken, sent = time.perf_counter() - begun, (carried() - before) / MIB
    disk = (octets_written(roots) - written) / MIB
    return Run(taken, taken, disk, sent, sent)


def measure(asked: Asked) -> list[Line]:
    """Time, disk, network. Raises NotMeasured."""
    alone = own_network()
    recipients, size = (5, 64 << 10) if asked.quick else (100, MIB)
    with (
        measuring_directory() as directory,
        two_postfixes(directory / "postfix") as postfix,
        two_sites(directory / "ours") as sites,
    ):
        everybody = [f"user{number}@b.test" for number in range(recipients)]
        add_recipients(sites, everybody)
        sites.start_notifier()
        runs = interleaved(
            {
                "ours": lambda: ours(sites, everybody, size),
                "Postfix": lambda: theirs(postfix, recipients, size),
            },
            asked.rounds_or(5),
            warm_up=not asked.quick,
        )
    note = "" if alone else "the network's octets are those of the whole machine's loopback"

    def line(what: str, unit: str, value: Callable[[Run], float], goal: Goal | None) -> Line:
        mine, his = ([value(run) for run in runs[side]] for side in ("ours", "Postfix"))
        return Line(ROW, what, unit, series(mine), "two Postfix", series(his), goal, note)

    return [
        line("all told", "s", lambda run: run.told, Goal(0.5, at_least=False)),
        line("all have fetched it", "s", lambda run: run.fetched, None),
        line("written to disk", "MiB", lambda run: run.disk, Goal(0.02, at_least=False)),
        line("over the network, told", "MiB", lambda run: run.sent, None),
        line("over the network, fetched by all", "MiB", lambda run: run.sent_with_fetching, None),
    ]


if __name__ == "__main__":
    main(ROW, TITLE, measure, __doc__)
