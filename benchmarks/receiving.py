"""Row 3: notifications a second that one agent takes, against a WSGI application that only answers.

python -m benchmarks.receiving [--quick] [--rounds 5]

One gunicorn with two workers of eight threads each; wrk sends notifications that were made in
advance, each of another message, to 20 inboxes over eight connections: one in each request, and 100
(docs/protocol.md, section 5: many at once); unsigned ones, which pass by the address that they come
from, and signed ones. What was answered is counted in the inboxes. The same with SQLite and with
PostgreSQL (a server of its own with Debian's defaults). The peers: the same gunicorn with an
application that reads the body and answers 201; and what the database alone commits, one INSERT of
a row of that size for each transaction, as durably, from eight connections in two processes.
"""

import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import func, select

from benchmarks.command import Asked, main
from benchmarks.durable_postgresql import DurablePostgreSQL, durable_postgresql
from benchmarks.figures import Goal, Line, NotMeasured, series
from benchmarks.gunicorn_site import gunicorn_site
from benchmarks.interleaved import interleaved
from benchmarks.measuring_directory import measuring_directory
from benchmarks.notifications import RequestKey, batches, new_key, requests
from benchmarks.programs import program
from benchmarks.two_sites import GUNICORN, UNLIMITED
from benchmarks.wrk import rate_of_file, write_requests
from tests.live.servers import AgentServer, Nsd
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient.tables import mailboxes

ROW, TITLE = 3, "Notifications taken"
INBOXES = [Endpoint.parse(f"user{number}@b.test") for number in range(20)]
CONNECTIONS = 8
ROW_SIZE = 1000  # octets: a notice with its headers and its URL
BATCH = 100  # notifications
MOST = 4000  # notifications a second that are made in advance; three times as many in batches


@dataclass
class Receiver:
    """An agent that takes notifications; ``signed``: whether those that it gets are."""

    server: AgentServer
    key: RequestKey | None
    directory: Path
    seconds: int
    batch: int = 1

    def __call__(self) -> float:
        """Notifications a second, in one round of its own."""
        file = self.directory / f"{self.server.directory.name}-{self.key is not None}-{self.batch}"
        count = int(MOST * (3 if self.batch > 1 else 1) * self.seconds / self.batch) + 100
        hosts = {
            "sender_host": ("server.a.test", 8080),
            "receiver_host": (self.server.host, self.server.port),
        }
        if self.batch > 1:
            made = batches(count, self.batch, INBOXES, key=self.key, **hosts)
        else:
            made = requests(count, INBOXES, key=self.key, **hosts)
        write_requests(file, list(made))
        before = arrived(self.server)
        answered = rate_of_file(
            self.server.url, file, expected=201 if self.batch == 1 else 200,
            connections=CONNECTIONS, seconds=self.seconds,
        )  # fmt: skip
        found = answered * self.batch
        if arrived(self.server) - before < found * self.seconds * 0.99:
            raise RuntimeError("not all that was answered is in the inboxes")
        return found


def arrived(server: AgentServer) -> int:
    """How many notifications are in the inboxes."""
    agent = server.agent()
    with agent.database.reading() as connection:
        total = connection.execute(select(func.sum(mailboxes.c.last_position))).scalar()
    agent.database.close()
    return int(total or 0)


def committed(
    connect: Callable[[], Any], insert: str, seconds: float, found: "multiprocessing.Queue[int]"
) -> None:
    """Inserts from half of the connections, each in a thread, for that long."""
    counts: list[int] = []

    def work() -> None:
        connection = connect()
        end, count = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            connection.execute(insert, (os.urandom(16), os.urandom(ROW_SIZE)))
            count += 1
        counts.append(count)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS // 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.put(sum(counts))


def database_alone(connect: Callable[[], Any], insert: str, seconds: float) -> float:
    """Transactions a second from all connections."""
    found: multiprocessing.Queue[int] = multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=committed, args=(connect, insert, seconds, found))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    total = sum(found.get() for _ in processes)
    for process in processes:
        process.join()
    return total / seconds


def sqlite(file: Path) -> sqlite3.Connection:
    """As our database is opened."""
    connection = sqlite3.connect(file, isolation_level=None, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS notice (id BLOB PRIMARY KEY, octets BLOB)")
    return connection


def postgresql(url: str) -> "psycopg.Connection[Any]":
    """A connection that commits each statement."""
    return psycopg.connect(url, autocommit=True)


def _agents(
    directory: Path, names: Nsd, database: DurablePostgreSQL | None
) -> dict[str, AgentServer]:
    urls = {"SQLite": ""}
    if database is not None:
        urls["PostgreSQL"] = database.new_database("xhmtp")
    agents = {}
    for name, url in urls.items():
        agents[name] = AgentServer(
            "b.test", "127.0.0.3", directory / name, names.port, database=url,
            options=GUNICORN, extra_settings=UNLIMITED,
        )  # fmt: skip
        agent = agents[name].agent()
        for owner in INBOXES:
            agent.accounts.add(owner, None)
        agent.database.close()
    return agents


def measure(asked: Asked) -> list[Line]:
    """All variants."""
    program("wrk", "wrk")
    program("nsd", "nsd")
    with measuring_directory() as directory:
        try:
            with durable_postgresql(directory / "postgresql") as database:
                return _measure(asked, directory, database)
        except NotMeasured as error:
            return [*_measure(asked, directory, None), _without(str(error))]


def _without(why: str) -> Line:
    return Line(ROW, f"PostgreSQL: not measured: {why}", "", series([0.0]))


def _measure(asked: Asked, directory: Path, database: DurablePostgreSQL | None) -> list[Line]:
    seconds = 1 if asked.quick else 5
    (directory / "names").mkdir()
    names = Nsd(directory / "names")
    key = new_key("a.test")
    agents = _agents(directory, names, database)
    # wrk comes from 127.0.0.1, which is thus the sender's agent.
    zone = ["_xhmtp._tcp SRV 0 0 8080 server.a.test.", '_prefix._xhmtp TXT "xhmtp"']
    b_zone = ["server A 127.0.0.3", '_prefix._xhmtp TXT "xhmtp"']
    names.start({"a.test": [*zone, "server A 127.0.0.1", key.zone_line], "b.test": b_zone})
    sides: dict[str, Callable[[], float]] = {}
    try:
        for agent in agents.values():
            agent.start()
        with gunicorn_site("benchmarks.bare_application:created") as bare:
            sides["bare"] = partial(_bare, directory, bare.address, bare.port, seconds)
            for name, agent in agents.items():
                sides[name] = Receiver(agent, None, directory, seconds)
                sides[f"{name}, signed"] = Receiver(agent, key, directory, seconds)
                sides[f"{name}, in batches"] = Receiver(agent, None, directory, seconds, BATCH)
                sides[f"{name}, in signed batches"] = Receiver(
                    agent, key, directory, seconds, BATCH
                )
            sides["SQLite alone"] = partial(
                database_alone, partial(sqlite, directory / "alone.db"),
                "INSERT INTO notice VALUES (?, ?)", seconds,
            )  # fmt: skip
            if database is not None:
                url = database.plain_url("postgres")
                with postgresql(url) as connection:
                    connection.execute("CREATE TABLE notice (id bytea PRIMARY KEY, octets bytea)")
                sides["PostgreSQL alone"] = partial(
                    database_alone, partial(postgresql, url),
                    "INSERT INTO notice VALUES (%s, %s)", seconds,
                )  # fmt: skip
            found = interleaved(sides, asked.rounds_or(5), warm_up=not asked.quick)
    finally:
        for agent in agents.values():
            agent.stop()
        names.stop()
    return _lines(found, list(agents))


def _lines(found: dict[str, list[float]], databases: list[str]) -> list[Line]:
    lines = []
    for name in databases:
        for how in (", in batches", ", in signed batches", "", ", signed"):
            best = max(databases, key=lambda name: series(found[name + how]).middle)
            goal = Goal(0.5) if name == best and "signed" not in how else None
            ours = series(found[name + how])
            lines.append(
                Line(ROW, f"{name}{how or ', by origin'}", "notifications/s", ours,
                     "bare WSGI", series(found["bare"]), goal)
            )  # fmt: skip
        lines.append(
            Line(ROW, f"{name}, by origin, and the database alone", "notifications/s",
                 series(found[name]), f"{name} alone", series(found[f"{name} alone"]))
        )  # fmt: skip
    return lines


def _bare(directory: Path, address: str, port: int, seconds: int) -> float:
    file = directory / "bare"
    if not file.exists():
        made = requests(
            1000, INBOXES, sender_host=("server.a.test", 8080), receiver_host=(address, port)
        )
        write_requests(file, list(made) * 30)
    return rate_of_file(
        f"http://{address}:{port}", file, expected=201, connections=CONNECTIONS, seconds=seconds
    )


if __name__ == "__main__":
    main(ROW, TITLE, measure, __doc__)
