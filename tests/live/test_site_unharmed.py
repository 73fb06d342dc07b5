"""Whatever befalls XHMTP, the sites around it answer as ever: plain WSGI, Flask, Pyramid, Django.

One gunicorn serves all four (four_sites.py). Each test breaks the database in one way, and asks
each site for its own pages and for what is below the prefix.
"""

import http.client
import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from tests import log_search
from tests.by_hand import message
from tests.live.own_postgresql import own_postgresql
from tests.live.servers import BIN, answers, free_port, until
from tests.live.test_full_disk import Ballast, small_disk
from tests.world import basic
from xhmtp_wsgi import Settings
from xhmtp_wsgi.agent import make_agent
from xhmtp_wsgi.protocol.endpoint import Endpoint

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("site_unharmed")]

SITES = ("plain", "flask", "pyramid", "django")
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND")


@dataclass(frozen=True)
class Answer:
    """What a site answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_ours(self) -> bool:
        """Is it an error as XHMTP tells it, which nothing of the site's has changed?"""
        told = self.headers["content-type"] == "application/problem+json"
        return told and "x-site" not in self.headers and "location" not in self.headers

    @property
    def detail(self) -> str:
        """Its words."""
        return str(json.loads(self.body)["detail"])


@dataclass
class FourSites:
    """The sites' server."""

    directory: Path
    database: str
    port: int = field(default_factory=free_port)

    @property
    def seen(self) -> list[str]:
        """The paths that any part of a site was asked for."""
        return self.log("seen").read_text().split() if self.log("seen").exists() else []

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    @contextmanager
    def running(self) -> Iterator[None]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "FOUR_SITES_DATABASE": self.database,
            "FOUR_SITES_LOG": str(self.log("seen")),
            "FOUR_SITES_INSTANCE": str(self.directory / "instance"),
        }
        with self.log("gunicorn").open("ab") as log:
            process = subprocess.Popen(
                [str(BIN / "gunicorn"), "--bind", f"127.0.0.1:{self.port}", "--threads", "8",
                 "--no-control-socket", "tests.live.four_sites:make()"],
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            until(lambda: answers(f"http://127.0.0.1:{self.port}/"), "the sites answer")
            self.log("seen").unlink(missing_ok=True)
            yield
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=30)
            log_search.keep(self.log("gunicorn").read_text(errors="replace"))

    def add_alice(self) -> None:
        """An account for alice of each site."""
        domains = {f"{site}.example": {"prefix": "xhmtp"} for site in SITES}
        agent = make_agent(Settings.load({"database": self.database, "domain": domains}))
        for site in SITES:
            agent.accounts.add(Endpoint.parse(f"alice@{site}.example"), "wonderland")
        agent.database.close()

    def ask(
        self,
        site: str,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """A request to a site, the path as it stands."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            sent = {"Host": f"{site}.example", **(headers or {})}
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, found, answer.read())

    def inject(self, site: str) -> Answer:
        """alice of that site hands in a message."""
        alice = f"alice@{site}.example"
        headers = {
            "Content-Type": "message/rfc822", "Authorization": basic(alice, "wonderland"),
        }  # fmt: skip
        return self.ask(site, "/xhmtp/alice/", "POST", message(alice), headers)

    def injects(self, site: str) -> bool:
        """Is a message of hers taken?"""
        return self.inject(site).status == 201

    def answer_as_ever(self) -> None:
        """Each site's own pages are as they always were."""
        for site in SITES:
            for method in ("GET", "POST"):
                page = self.ask(site, "/page/", method)
                assert (page.status, page.body) == (200, f"the site of {site}".encode())

    def refuse(self, status: int = 503) -> list[str]:
        """What they say below the prefix: not now."""
        details = []
        for site in SITES:
            feed = self.ask(site, f"/xhmtp/alice@{site}.example", headers={
                "Authorization": basic("alice", "wonderland"),
            })  # fmt: skip
            for answer in (self.inject(site), feed) if status == 503 else (self.inject(site),):
                assert (answer.status, answer.is_ours) == (status, True), answer
                assert int(answer.headers["retry-after"]) > 0
                details.append(answer.detail)
        return details


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FourSites]:
    """The sites with nothing broken."""
    directory = tmp_path_factory.mktemp("whole")
    sites = FourSites(directory, f"sqlite:///{directory}/xhmtp.db")
    sites.add_alice()
    with sites.running():
        yield sites


@pytest.mark.parametrize("site", SITES)
def test_no_part_of_a_site_is_asked_for_what_is_below_the_prefix(whole: FourSites, site: str):
    """No route that catches all, no APPEND_SLASH, no function before or after a request."""
    whole.log("seen").unlink(missing_ok=True)
    paths = ["", "/", "/x", "/alice", "/alice/", "/a/b/c", "//", "/%ff", f"/x@{site}.example"]
    for path in paths:
        for method in METHODS:
            answer = whole.ask(site, f"/xhmtp{path}", method)
            assert answer.is_ours, (method, path, answer)
            assert answer.status in (400, 401, 404, 405, 411, 415), (method, path, answer)
            assert bool(answer.body) is (method != "HEAD")
        assert (
            whole.ask(site, f"/xhmtp{path}", "HEAD").status
            == whole.ask(site, f"/xhmtp{path}").status
        )
    assert whole.seen == []
    whole.ask(site, "/xhmtpx/")
    assert "/xhmtpx/" in whole.seen, "what is not below it is the site's"


def test_a_site_does_with_its_own_paths_what_it_always_did(whole: FourSites):
    slashed = whole.ask("django", "/page")
    assert (slashed.status, slashed.headers["location"]) == (301, "/page/")
    assert whole.ask("flask", "/page/", "OPTIONS").headers["x-site"] == "changed"
    assert whole.ask("plain", "/page/", "PROPFIND").status == 200
    for site in SITES:
        assert whole.ask(site, "/page/", "HEAD").status == 200
        assert whole.inject(site).status in (200, 201)


def no_directory(file: Path) -> None:
    """It was deleted, or its disk is not mounted."""


def closed_directory(file: Path) -> None:
    """Nobody may read it; root, whom that does not stop, finds a file in its place."""
    file.parent.mkdir(mode=0)
    if os.access(file.parent, os.R_OK):
        file.parent.rmdir()
        file.parent.write_text("")


def garbage(file: Path) -> None:
    """It is no database."""
    file.parent.chmod(0o700)
    if file.parent.is_file():
        file.parent.unlink()
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(os.urandom(8192))


def older(file: Path) -> None:
    """Its tables are as the second migration left them."""
    file.unlink()
    config = Config()
    config.set_main_option("script_location", "xhmtp_wsgi:migrations")
    config.set_main_option("path_separator", "os")
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    engine.dispose()


def version(file: Path, number: str) -> None:
    """It says that its tables are of this version."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [number])
        connection.commit()


def newer(file: Path) -> None:
    """Its tables are those of a program that is yet to come."""
    version(file, "9999")


def test_whatever_is_wrong_with_the_database_and_no_restart_is_needed_once_it_is_right(
    tmp_path: Path,
):
    file = tmp_path / "database" / "xhmtp.db"
    sites = FourSites(tmp_path, f"sqlite:///{file}")
    settings = tmp_path / "xhmtp.toml"
    settings.write_text(f'database = "{sites.database}"\n[domain."plain.example"]\n')
    with sites.running():
        for broken in (no_directory, closed_directory, garbage, older, newer):
            broken(file)
            sites.answer_as_ever()
            details = set(sites.refuse())
            sites.answer_as_ever()
            if broken in (older, newer):
                [detail] = details
                assert ("9999" if broken is newer else "0002") in detail
                assert "run 'xhmtp db upgrade' with the newest program" in detail
            else:
                assert details == {"the database cannot be used just now"}, broken.__name__
        assert "Traceback" not in sites.log("gunicorn").read_text()

        version(file, "0002")
        upgrade = [str(BIN / "xhmtp"), "--config", str(settings), "db", "upgrade"]
        subprocess.run(upgrade, check=True, capture_output=True, timeout=60)
        sites.add_alice()
        assert [sites.inject(site).status for site in SITES] == [201] * 4

        kept = file.parent.rename(tmp_path / "elsewhere")
        assert set(sites.refuse()) == {"the database cannot be used just now"}
        sites.answer_as_ever()
        kept.rename(file.parent)
        assert [sites.inject(site).status for site in SITES] == [201] * 4


def test_with_a_full_disk(tmp_path: Path):
    with small_disk(tmp_path / "disk", 8) as disk:
        sites = FourSites(tmp_path, f"sqlite:///{disk}/xhmtp.db")
        sites.add_alice()
        with sites.running():
            assert [sites.inject(site).status for site in SITES] == [201] * 4
            ballast = Ballast(disk)
            ballast.fill()
            assert set(sites.refuse(507)) == {"there is no room left to store it"}
            sites.answer_as_ever()
            ballast.drop()
            assert [sites.inject(site).status for site in SITES] == [201] * 4


def test_with_a_postgresql_that_has_ended(tmp_path: Path):
    with own_postgresql() as server:
        sites = FourSites(tmp_path, server.url)
        sites.add_alice()
        with sites.running():
            assert [sites.inject(site).status for site in SITES] == [201] * 4
            server.stop()
            sites.answer_as_ever()
            assert set(sites.refuse()) == {"the database cannot be used just now"}
            sites.answer_as_ever()
            server.start()
            for site in SITES:
                until(partial(sites.injects, site), "it goes on")


def test_with_a_postgresql_that_is_frozen(tmp_path: Path):
    """It takes questions and answers none: nobody waits for it for ever, and few wait at all."""
    with own_postgresql() as server:
        sites = FourSites(tmp_path, server.url)
        sites.add_alice()
        with sites.running(), ThreadPoolExecutor() as pool:
            assert [sites.inject(site).status for site in SITES] == [201] * 4
            server.freeze()
            waiting = [pool.submit(sites.inject, site) for site in SITES]
            sites.answer_as_ever()
            assert not any(one.done() for one in waiting)
            for one in waiting:
                answer = one.result(timeout=60)
                assert (answer.status, answer.is_ours) == (503, True)
            # From now on it is known: many are refused, and none holds up a worker.
            refused = list(pool.map(sites.inject, SITES * 5))
            assert {answer.status for answer in refused} == {503}
            sites.answer_as_ever()
            server.thaw()
            for site in SITES:
                until(partial(sites.injects, site), "it goes on")
