"""Where should a message's octets be? In the database (whole, or in pieces), or in files beside it?

    python -m benchmarks.message_storage        prints a table; docs/architecture.md has one

Each way is as durable as the others: SQLite in WAL with synchronous=FULL; a file is synced,
renamed, and its directory synced, before its row is committed.
"""

import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

SMALL, MANY = 4 << 10, 300
LARGE = 200 << 20
ROUNDS = 3


def opened(directory: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(directory / "db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE piece (message INTEGER, number INTEGER, octets BLOB, "
        "PRIMARY KEY (message, number))"
    )
    return connection


def in_pieces(size: int) -> Callable[[Path, sqlite3.Connection, int, Path], None]:
    def store(_: Path, connection: sqlite3.Connection, number: int, source: Path) -> None:
        connection.execute("BEGIN IMMEDIATE")
        with source.open("rb") as file:
            for index, octets in enumerate(iter(lambda: file.read(size), b"")):
                connection.execute("INSERT INTO piece VALUES (?, ?, ?)", (number, index, octets))
        connection.execute("COMMIT")

    return store


def in_files(directory: Path, connection: sqlite3.Connection, number: int, source: Path) -> None:
    temporary, final = directory / f"tmp{number}", directory / f"{number}"
    with source.open("rb") as file, temporary.open("wb") as target:
        while octets := file.read(1 << 20):
            target.write(octets)
        target.flush()
        os.fsync(target.fileno())
    temporary.rename(final)
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO piece VALUES (?, 0, x'')", (number,))
    connection.execute("COMMIT")


WAYS = {
    "in the database, whole": in_pieces(1 << 30),
    "in pieces of 64 KiB": in_pieces(64 << 10),
    "in pieces of 256 KiB": in_pieces(256 << 10),
    "in pieces of 1 MiB": in_pieces(1 << 20),
    "in files": in_files,
}


def measured(way: Callable[..., None], source: Path, times: int) -> float:
    """Seconds for storing it that often."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        connection = opened(directory)
        start = time.perf_counter()
        for number in range(times):
            way(directory, connection, number, source)
        taken = time.perf_counter() - start
        connection.close()
    return taken


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        small, large = Path(name) / "small", Path(name) / "large"
        small.write_bytes(os.urandom(SMALL))
        large.write_bytes(os.urandom(LARGE))
        found: dict[str, tuple[list[float], list[float]]] = {way: ([], []) for way in WAYS}
        for _ in range(ROUNDS):
            for way, store in WAYS.items():
                found[way][0].append(MANY / measured(store, small, MANY))
                found[way][1].append(measured(store, large, 1))
    out = sys.stdout
    out.write(f"{'':26}{'4 KiB messages/s':>18}{'one of 200 MiB, s':>20}\n")
    for way, (per_second, seconds) in found.items():
        out.write(f"{way:26}{median(per_second):>18.0f}{median(seconds):>20.2f}\n")


if __name__ == "__main__":
    main()
