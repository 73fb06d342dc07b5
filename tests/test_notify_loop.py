"""`xhmtp-notify --loop` and a database that is away for a while."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.command_process import ForkedCommand, run_command, start_command
from tests.live.servers import until
from tests.templates import copy_sqlite
from xhmtp_wsgi import Settings
from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.middleware import submit
from xhmtp_wsgi.sender import outbox


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    copy_sqlite(tmp_path / "xhmtp.db")
    file = tmp_path / "xhmtp.toml"
    file.write_text('database = "sqlite:///xhmtp.db"\n[domain."a.example"]\n')
    return file


@contextmanager
def looping(settings: Path, errors: Path) -> Iterator[ForkedCommand]:
    notifier = start_command(
        "xhmtp-notify", "--config", str(settings), "--loop", "0.1", errors=errors
    )
    try:
        yield notifier
    finally:
        if notifier.poll() is None:
            os.kill(notifier.pid, signal.SIGKILL)


def passes(database: Path) -> float:
    """When the last pass ended."""
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT value FROM counter WHERE name = 'last_pass_ended_at'")
        row = found.fetchone()
    return float(row[0]) if row else 0.0


def tries(agent: Agent, message: str) -> list[int]:
    """How often each recipient of a message was tried to be told."""
    return [one.tries for one in outbox.statuses(agent.database, message)]


def test_a_loop_outlives_a_database_that_is_away_and_says_so_once(settings: Path, tmp_path: Path):
    database, errors = tmp_path / "xhmtp.db", tmp_path / "errors"

    def said() -> int:
        return errors.read_text().count("cannot be used just now; it is tried again")

    with looping(settings, errors) as notifier:
        until(lambda: passes(database) > 0, "a pass")
        database.rename(tmp_path / "away")
        until(lambda: said() == 1, "it says so")
        # Some more passes that fail.
        time.sleep(2.5)
        (tmp_path / "away").rename(database)
        again = time.time()
        until(lambda: passes(database) > again, "a pass once it is there again")
        assert said() == 1
        notifier.terminate()
        assert notifier.wait(60) == 0


def test_a_loop_tells_of_what_is_handed_in_at_once(settings: Path, tmp_path: Path):
    """Not when its time comes: that is in a day."""
    message = b"From: a@a.example\r\nTo: b@b.example\r\n\r\nhello\r\n"
    agent = make_agent(Settings.load(str(settings)))
    notifier = start_command(
        "xhmtp-notify", "--config", str(settings), "--loop", "86400", errors=tmp_path / "errors"
    )
    try:
        until(lambda: passes(tmp_path / "xhmtp.db") > 0, "a pass")
        for number in range(2):
            new = message.replace(b"hello", b"%d" % number)
            identifier = submit(agent, new, sender="a@a.example")
            until(lambda sent=identifier: tries(agent, sent) == [1], "a try of it")  # type: ignore[misc]
        notifier.terminate()
        assert notifier.wait(60) == 0
    finally:
        if notifier.poll() is None:
            os.kill(notifier.pid, signal.SIGKILL)
        agent.database.close()


def test_a_loop_ends_where_the_tables_are_another_programs(settings: Path, tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "xhmtp.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    done = run_command("xhmtp-notify", "--config", str(settings), "--loop", "0.1", timeout=60)
    assert done.returncode == 1
    assert "xhmtp db upgrade" in done.stderr


def test_one_pass_ends_with_1_where_the_database_is_away(settings: Path, tmp_path: Path):
    settings.write_text('database = "sqlite:////nowhere/xhmtp.db"\n[domain."a.example"]\n')
    done = run_command("xhmtp-notify", "--config", str(settings), timeout=60)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 2, "the log's line, and its own"
