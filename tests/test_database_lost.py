"""A database that is deleted, replaced or silent while it is in use, or whose client is."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

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
    LETS_GO,
    NOTICED,
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


def in_effect(url: str) -> dict[str, str]:
    """What the server has settled for a connection of ours, by name."""
    database = Database(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with suppress(ZeroDivisionError), database.reading():
            # What is rolled back is not to take it away.
            raise ZeroDivisionError
        with database.reading() as first, database.reading() as second:
            shown = [
                {name: str(one.execute(text(f"SHOW {name}")).scalar_one()) for name in LETS_GO}
                for one in (first, second)
            ]
        assert shown[0] == shown[1], "each connection is a client of its own"
        return shown[0]
    finally:
        database.close()


def test_a_server_looks_soon_whether_its_client_is_still_there(server: OwnPostgreSQL):
    with psycopg.connect(server.url) as plain:
        assert plain.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("0",)
    # The server reads these from its socket: so they have come as far as the kernel.
    assert in_effect(server.url) == LETS_GO


def test_what_the_operator_has_settled_stays(server: OwnPostgreSQL):
    in_url = "-c idle_in_transaction_session_timeout=7min -c tcp_keepalives_idle=77"
    assert in_effect(f"{server.url}?{urlencode({'options': in_url})}") == {
        **LETS_GO, "idle_in_transaction_session_timeout": "7min", "tcp_keepalives_idle": "77",
    }  # fmt: skip
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE settled LOGIN SUPERUSER")
        connection.execute("ALTER ROLE settled SET tcp_user_timeout = 88000")
        connection.execute("ALTER DATABASE postgres SET tcp_keepalives_count = 9")
        try:
            found = in_effect(server.url.replace("postgres@", "settled@"))
        finally:
            connection.execute("ALTER DATABASE postgres RESET tcp_keepalives_count")
    assert found == {**LETS_GO, "tcp_user_timeout": "88000", "tcp_keepalives_count": "9"}


def test_a_client_looks_soon_whether_its_server_is_still_there(server: OwnPostgreSQL):
    database = Database(server.url.replace("postgresql:", "postgresql+psycopg:"))
    engine = database.engine()
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        with socket.socket(fileno=os.dup(driver.fileno())) as used:
            idle = used.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            unanswered = used.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    database.close()
    assert (idle, unanswered) == (NOTICED["keepalives_idle"], NOTICED["tcp_user_timeout"])


def test_what_the_url_says_of_its_client_stays(server: OwnPostgreSQL):
    given = "keepalives_idle=44&tcp_user_timeout=5500&connect_timeout=3"
    database = Database(f"{server.url}?{given}".replace("postgresql:", "postgresql+psycopg:"))
    with database.engine().connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        found = driver.info.get_parameters()
    database.close()
    assert {name: found[name] for name in dict(parse_qsl(given))} == dict(parse_qsl(given))
    assert found["keepalives_count"] == str(NOTICED["keepalives_count"])


def test_a_lock_of_a_client_that_says_nothing_more_is_let_go(
    server: OwnPostgreSQL, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "xhmtp_wsgi.postgresql_connection.LETS_GO",
        {**LETS_GO, "idle_in_transaction_session_timeout": "300ms"},
    )
    url = server.url.replace("postgresql:", "postgresql+psycopg:")
    silent, other = Database(url), Database(url)
    add(silent, "locked")
    change = text("UPDATE account SET created_at = 1 WHERE address = 'locked'")
    changed = 0
    with pytest.raises(DatabaseUnavailable), silent.transaction() as connection:
        connection.execute(change)
        with other.transaction() as second:
            changed = second.execute(change).rowcount
        connection.execute(change)
    assert changed == 1, "the other waited no longer than that"
    silent.close()
    other.close()


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
