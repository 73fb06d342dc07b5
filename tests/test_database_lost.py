"""A database that is deleted, replaced or silent while it is in use."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from tests.live.own_postgresql import OwnPostgreSQL, own_postgresql
from tests.live.servers import until
from tests.world import Clock
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import DatabaseUnavailable
from xhmtp_wsgi.postgresql_connection import (
    ANSWER_TIMEOUT,
    CONNECT_TIMEOUT,
    PAUSE,
    AnsweringServer,
    BoundedConnection,
)

INSERT = text("INSERT INTO account (address, created_at) VALUES (:address, 0)")


def add(database: Database, name: str) -> None:
    with database.transaction() as connection:
        connection.execute(INSERT, {"address": name})


def count(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(text("SELECT count(*) FROM account")).scalar_one())


def test_nothing_is_written_to_a_file_that_was_deleted(tmp_path: Path):
    file = tmp_path / "xhmtp.db"
    database = Database(f"sqlite:///{file}")
    add(database, "before")
    for name in tmp_path.iterdir():
        name.unlink()
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable):
            add(database, "lost")
    assert list(tmp_path.iterdir()) == [], "nor is it made anew"
    database.close()


def test_a_file_that_was_put_back_is_used_at_once(tmp_path: Path):
    file = tmp_path / "xhmtp.db"
    database = Database(f"sqlite:///{file}")
    add(database, "before")
    with database.reading() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    backup = shutil.copy(file, tmp_path / "backup")
    add(database, "after the backup")
    for name in tmp_path.glob("xhmtp.db*"):
        name.unlink()
    Path(backup).rename(file)
    assert count(database) == 1
    add(database, "after it was put back")
    assert count(database) == 2
    database.close()


@pytest.fixture(scope="module")
def server() -> Iterator[OwnPostgreSQL]:
    with own_postgresql() as started:
        yield started


def test_a_silent_server_is_waited_for_so_long_and_then_left_alone(
    server: OwnPostgreSQL, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(BoundedConnection, "answer_timeout", 0.5)
    database = Database(server.url.replace("postgresql:", "postgresql+psycopg:"))
    add(database, "before")
    try:
        with pytest.raises(DatabaseUnavailable), database.reading() as connection:
            server.freeze()
            connection.execute(text("SELECT 1"))
        for _ in range(20):
            with pytest.raises(DatabaseUnavailable):
                add(database, "refused at once")
    finally:
        server.thaw()
    until(lambda: _added(database, "after"), "it answers again")
    assert count(database) == 2
    database.close()


def _added(database: Database, name: str) -> bool:
    try:
        add(database, name)
    except DatabaseUnavailable:
        return False
    return True


def test_a_server_that_works_for_long_is_waited_for_where_tables_change(server: OwnPostgreSQL):
    connection = AnsweringServer().connect(server.url)
    connection.answer_timeout = 0.3
    with pytest.raises(psycopg.OperationalError, match="does not answer"):
        connection.execute("SELECT pg_sleep(5)")
    assert connection.closed
    patient = AnsweringServer().connect(server.url)
    patient.answer_timeout = None
    patient.execute("SELECT pg_sleep(0.6)")
    patient.close()


def test_a_server_that_goes_on_sending_is_not_silent(server: OwnPostgreSQL):
    connection = AnsweringServer().connect(server.url)
    connection.answer_timeout = 0.5
    slowly = "SELECT repeat('x', 100000), pg_sleep(0.02) FROM generate_series(1, 60)"
    assert len(connection.execute(slowly).fetchall()) == 60
    connection.close()


def test_one_asks_again_and_the_others_are_told_at_once():
    clock = Clock()
    server = AnsweringServer(clock)
    asked: list[str] = []

    def silent() -> None:
        asked.append("silent")
        raise psycopg.OperationalError("no answer")

    def refused() -> bool:
        with pytest.raises(psycopg.OperationalError) as caught:
            server.asked(silent)
        return "just now" in str(caught.value)

    assert not refused()
    assert refused()
    clock.now += PAUSE

    def asks() -> None:
        asked.append("asks")
        # While he waits for his answer, the others do not.
        clock.now += ANSWER_TIMEOUT + CONNECT_TIMEOUT
        assert refused()

    server.asked(asks)
    assert asked == ["silent", "asks"]
    assert server.asked(lambda: "answered") == "answered"


def test_an_error_that_the_server_tells_is_an_answer():
    server = AnsweringServer()

    def told() -> None:
        raise psycopg.errors.DeadlockDetected("told by the server")

    for _ in range(3):
        with pytest.raises(psycopg.errors.DeadlockDetected):
            server.asked(told)
