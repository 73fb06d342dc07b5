"""What all tests share: the databases that the suite runs on, and the world of alice and bob."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from tests import interpreter, log_search, templates
from tests.live.servers import free_port, until
from tests.world import World, make_world

interpreter.keep_compiled()
interpreter.leave_garbage()

# What takes how long is another matter than what is right, and a machine may be busy.
# XHMTP_EXAMPLES asks for more examples of each property than fit into some minutes.
settings.register_profile(
    "suite",
    deadline=None,
    max_examples=int(os.environ.get("XHMTP_EXAMPLES", "40")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")

MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 << 30:
    # Where the tests' own directories are: what is synced to a disk there takes no time. That it is
    # synced, and in which order, test_order_of_writes looks at.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_configure(config: pytest.Config) -> None:
    """All log output is kept, to be searched at the end."""
    if not hasattr(config, "workerinput"):
        log_search.begin()
    log_search.listen()


def pytest_collection_finish() -> None:
    """The tests begin."""
    interpreter.pass_over_what_is_there()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """No log of the whole suite has a secret in it, or the run has failed."""
    if hasattr(session.config, "workerinput"):
        return
    lines, wrong = log_search.found()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"\n{lines:,} lines of logs searched: {len(wrong)} with a secret")
        for line in wrong[:20]:
            reporter.write_line(line)
    if wrong:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    log_search.end()


LOCAL = "postgresql://postgres@127.0.0.1:5432/postgres"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL server: XHMTP_TEST_POSTGRES, else the local one, else one of our own."""
    named = os.environ.get("XHMTP_TEST_POSTGRES")
    if named:
        yield named
    elif _answers(LOCAL):
        yield LOCAL
    else:
        yield from _own_server()


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is room for it: for tests of killed processes.

    Whoever dies by kill -9 takes nothing with him that was written, on a disk or not; what a power
    cut would take is tested by the order of writes (test_order_of_writes).
    """
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < 1 << 30:
        yield tmp_path
        return
    directory = Path(tempfile.mkdtemp(prefix="xhmtp-", dir=MEMORY))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/xhmtp.db"
        return
    yield from new_postgresql_database(request.getfixturevalue("postgresql"))


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """alice's agent on each kind of database, bob's on SQLite or the same kind."""
    if request.param == "sqlite":
        with make_world(tmp_path, f"sqlite:///{tmp_path}/xhmtp.db") as made:
            yield made
        return
    url = templates.emptied_postgresql(request.getfixturevalue("postgresql"))
    with make_world(tmp_path, url) as made:
        yield made


@pytest.fixture
def sqlite_world(tmp_path: Path) -> Iterator[World]:
    """The same on SQLite alone, for what does not touch the database."""
    with make_world(tmp_path, f"sqlite:///{tmp_path}/xhmtp.db") as made:
        yield made


def new_postgresql_database(server: str) -> Iterator[str]:
    """A database of its own on that server, dropped afterwards."""
    name = f"xhmtp_test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield server.rsplit("/", 1)[0] + f"/{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _own_server() -> Iterator[str]:
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.skip("no PostgreSQL answers, and Debian's postgresql is not installed")
    directory = Path(tempfile.mkdtemp(prefix="xhmtp-postgresql-"))
    port = free_port()
    as_user: list[str] = []
    if os.getuid() == 0:
        # The server refuses to run as root.
        shutil.chown(directory, "postgres", "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    data = directory / "data"
    subprocess.run(
        [*as_user, str(binaries[-1] / "initdb"), "-A", "trust", "-U", "postgres", str(data)],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    server = subprocess.Popen(
        [*as_user, str(binaries[-1] / "postgres"), "-D", str(data), "-p", str(port),
         "-c", "listen_addresses=127.0.0.1", "-k", str(directory)],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        until(lambda: _answers(url), "PostgreSQL answers")
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(directory, ignore_errors=True)
