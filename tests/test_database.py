"""The database: one suite on SQLite and on PostgreSQL."""

import importlib
import os
import pkgutil
import re
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, insert, inspect, select, text, update

import xhmtp_wsgi.middleware
from xhmtp_wsgi.accounts import Accounts, accounts
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import (
    DatabaseUnavailable,
    Duplicate,
    Malformed,
    Misdirected,
    NotAuthenticated,
    NotFound,
    SchemaOutdated,
)
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.schema import PARTIAL, SCHEMA, metadata
from xhmtp_wsgi.sqlite_connection import BUSY_TIMEOUT, CACHE

ALICE = Endpoint.parse("Alice@a.example")
ROW = {"address": "counter@a.example", "created_at": 0.0}


@pytest.fixture
def database(database_url: str):
    opened = Database(database_url.replace("postgresql://", "postgresql+psycopg://"))
    yield opened
    opened.close()


def test_an_empty_database_gets_its_tables_when_first_used(database: Database):
    with database.reading() as connection:
        assert connection.execute(select(accounts)).all() == []


def _import_all_tables() -> None:
    for module in pkgutil.walk_packages(xhmtp_wsgi.__path__, "xhmtp_wsgi."):
        # The frameworks' shells have no tables, and want their framework set up.
        if not re.search(r"\.(django|flask|pyramid|wsgi|migrations)\b", module.name):
            importlib.import_module(module.name)


def test_the_migrations_make_the_tables_that_the_code_has(database: Database):
    _import_all_tables()
    database.upgrade()
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": _of_the_code})
        assert compare_metadata(context, metadata) == []
    script = ScriptDirectory(str(Path(xhmtp_wsgi.middleware.__file__).parent / "migrations"))
    assert script.get_current_head() == SCHEMA


def _of_the_code(_thing: object, name: str | None, kind: str, *_: object) -> bool:
    """The index of words is no table of SQLAlchemy's, and on SQLite it is several."""
    return not (kind == "table" and (name or "").startswith("search_words"))


def test_an_index_leaves_out_the_rows_that_the_code_says(database: Database):
    _import_all_tables()
    database.upgrade()
    partial = {
        (table.name, str(index.name)): index.info[PARTIAL]
        for table in metadata.tables.values()
        for index in table.indexes
        if PARTIAL in index.info
    }
    assert partial
    with database.reading() as connection:
        kind = connection.dialect.name
        found = {
            (table, index["name"]): str(index["dialect_options"][f"{kind}_where"])
            for table in {table for table, _ in partial}
            for index in inspect(connection).get_indexes(table)
            if index.get("dialect_options", {}).get(f"{kind}_where") is not None
        }
    assert {where: re.sub("[()]", "", text) for where, text in found.items()} == partial


def test_whoever_works_alone_fills_the_memory_of_one_connection(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path}/xhmtp.db")
    with database.reading(), database.reading(), database.reading():
        pass  # the pool has three from now on
    used = set()
    for _ in range(6):
        with database.reading() as connection:
            used.add(connection.connection.driver_connection)
            kept = connection.execute(text("PRAGMA cache_size")).scalar_one()
    database.close()
    assert len(used) == 1
    assert kept == -CACHE


def test_an_upgrade_may_be_run_again_and_by_several_at_once(database_url: str):
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    failures: list[BaseException] = []

    def upgrade() -> None:
        opened = Database(url)
        try:
            opened.upgrade()
        except BaseException as error:
            failures.append(error)
        finally:
            opened.close()

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_tables_of_another_version_are_refused_with_what_to_do(database: Database):
    database.upgrade()
    with database.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    again = Database(database.engine().url.render_as_string(hide_password=False))
    with pytest.raises(SchemaOutdated, match="xhmtp db upgrade"), again.reading():
        pass
    again.close()


def test_a_transaction_that_fails_leaves_nothing(database: Database):
    with pytest.raises(RuntimeError), database.transaction() as connection:
        connection.execute(insert(accounts).values(**ROW))
        raise RuntimeError
    with database.reading() as connection:
        assert connection.execute(select(accounts)).all() == []


def test_what_is_committed_is_synced(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path}/x.db")
    with database.transaction() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2, "FULL"
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 10_000
    database.close()


def test_a_reader_is_not_held_up_by_a_writer(database: Database):
    with database.transaction() as writing:
        writing.execute(insert(accounts).values(**ROW))
        with database.reading() as reading:
            assert reading.execute(select(accounts)).all() == []


def _count_up(connection: Connection) -> None:
    wanted = select(accounts.c.created_at).with_for_update()
    value = connection.execute(wanted).scalar_one()
    connection.execute(update(accounts).values(created_at=value + 1))


def test_a_writer_that_waits_for_another_holds_no_connection(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path}/turns.db")
    database.upgrade()
    begins, has_begun, has_one = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        begins.set()
        with database.transaction():
            has_begun.set()

    second = threading.Thread(target=write)
    with database.transaction():
        event.listen(database.engine(), "checkout", lambda *_: has_one.set())
        second.start()
        assert begins.wait(30.0)
        assert not has_one.wait(0.5)
    assert has_begun.wait(30.0), "and when the first is done, it is its turn"
    second.join()
    with pytest.raises(ZeroDivisionError), database.transaction():
        raise ZeroDivisionError
    with database.transaction():
        pass  # a turn that ended in an error is over too
    database.close()


def test_writers_that_read_first_never_overwrite_each_other(database: Database):
    with database.transaction() as connection:
        connection.execute(insert(accounts).values(**ROW))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(25):
                with database.transaction() as connection:
                    _count_up(connection)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.reading() as connection:
        assert connection.execute(select(accounts.c.created_at)).scalar_one() == 200


def test_after_a_fork_the_child_has_connections_of_its_own(database: Database):
    with database.transaction() as connection:
        connection.execute(insert(accounts).values(**ROW))
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for _ in range(20):
                    with database.transaction() as connection:
                        _count_up(connection)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    with database.reading() as connection:
        assert connection.execute(select(accounts.c.created_at)).scalar_one() == 80


@pytest.mark.parametrize(
    "url",
    ["sqlite:////nowhere/x.db", "postgresql+psycopg://nobody@127.0.0.1:1/nothing"],
)
def test_a_database_that_is_not_there_is_unavailable_and_the_error_tells_no_secret(url: str):
    with pytest.raises(DatabaseUnavailable) as caught, Database(url).reading():
        pass
    assert "nobody" not in str(caught.value)


# Accounts, on both.


@pytest.fixture
def found(database: Database):
    return Accounts(database, ["a.example"], lambda: 1.0, lambda: 1.0)


def test_an_account_is_one_whatever_the_case_of_its_letters(found: Accounts):
    found.add(ALICE, "wonderland")
    with pytest.raises(Duplicate):
        found.add(Endpoint.parse("alice@A.EXAMPLE"), "x")
    assert found.authenticate(Endpoint.parse("ALICE@a.example"), "wonderland").endpoint.local == (
        "alice"
    )


def test_only_the_right_password_opens_an_account(found: Accounts):
    found.add(ALICE, "wonderland")
    found.add(Endpoint.parse("bob@a.example"), None)
    for address, password in [
        ("alice@a.example", "wonderlanD"),
        ("alice@a.example", ""),
        ("alice@a.example", "x" * 2000),
        ("alice@a.example", "\udcff"),
        ("bob@a.example", ""),
        ("carol@a.example", "wonderland"),
    ]:
        with pytest.raises(NotAuthenticated):
            found.authenticate(Endpoint.parse(address), password)
    with pytest.raises(NotAuthenticated):
        found.authenticate(None, "wonderland")


def test_a_password_that_was_changed_no_longer_opens_even_where_it_was_remembered(found: Accounts):
    found.add(ALICE, "wonderland")
    found.authenticate(ALICE, "wonderland")
    found.set_password(ALICE, "looking-glass")
    with pytest.raises(NotAuthenticated):
        found.authenticate(ALICE, "wonderland")
    found.authenticate(ALICE, "looking-glass")


def test_a_feed_is_read_with_a_token_or_the_password_of_its_owner_alone(found: Accounts):
    bob = Endpoint.parse("bob@a.example")
    found.add(ALICE, "wonderland")
    found.add(bob, None)
    tokens = [found.add_token(ALICE, "one"), found.add_token(ALICE, "two")]
    for secret in (*tokens, "wonderland"):
        assert found.authenticate_reader(ALICE, secret).endpoint == ALICE.canonical
    for endpoint, secret in (
        (bob, tokens[0]),
        (bob, "wonderland"),
        (bob, ""),
        (ALICE, ""),
        (ALICE, "x" * 32),
        (Endpoint.parse("carol@a.example"), tokens[0]),
    ):
        with pytest.raises(NotAuthenticated):
            found.authenticate_reader(endpoint, secret)
        with pytest.raises(NotAuthenticated):
            found.authenticate_token(endpoint, secret)
    with pytest.raises(NotAuthenticated):
        found.authenticate_token(ALICE, "wonderland")


def test_passwords_and_tokens_are_kept_as_hashes(found: Accounts, database: Database):
    found.add(ALICE, "wonderland")
    token = found.add_token(ALICE, "a reader")
    with database.reading() as connection:
        kept = str(connection.execute(text("SELECT * FROM account, token")).all())
    assert "wonderland" not in kept
    assert token not in kept
    assert "$argon2id$" in kept


def test_with_an_account_its_tokens_go(found: Accounts):
    found.add(ALICE, "wonderland")
    token = found.add_token(ALICE, "a reader")
    found.remove(ALICE)
    found.add(ALICE, "again")
    with pytest.raises(NotAuthenticated):
        found.authenticate_token(ALICE, token)


def test_the_tokens_of_one_are_neither_told_to_another_nor_ended_by_him(found: Accounts):
    bob = Endpoint.parse("bob@a.example")
    found.add(ALICE, "wonderland")
    found.add(bob, "builder")
    token = found.add_token(ALICE, "a reader")
    found.add_token(bob, "another")
    (hers,) = found.tokens(ALICE)
    assert hers.label == "a reader"
    assert found.tokens(Endpoint.parse("carol@a.example")) == []
    with pytest.raises(NotFound):
        found.revoke_token(bob, hers.id)
    assert found.authenticate_token(ALICE, token).endpoint == ALICE.canonical
    found.revoke_token(ALICE, hers.id)
    assert found.tokens(ALICE) == []


def test_what_cannot_be_is_said(found: Accounts):
    with pytest.raises(Misdirected):
        found.add(Endpoint.parse("x@elsewhere.example"), "x")
    with pytest.raises(Malformed):
        found.add(ALICE, "")
    for attempt in (
        lambda: found.remove(ALICE),
        lambda: found.set_password(ALICE, "x"),
        lambda: found.add_token(ALICE, "x"),
        lambda: found.revoke_token(ALICE, 1),
    ):
        with pytest.raises(NotFound):
            attempt()


def test_a_writer_that_had_its_turn_waits_for_others_as_before(tmp_path: Path):
    """To read waits as well, for one that repairs the log; not only to write does."""
    database = Database(f"sqlite:///{tmp_path}/x.db")
    for _ in range(2):
        with database.transaction() as connection:
            found = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
            assert found == BUSY_TIMEOUT * 1000
    database.close()
