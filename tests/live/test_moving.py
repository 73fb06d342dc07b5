"""Domains move to other hosts, by docs/moving.md, while messages are on their way: none is lost."""

import json
import shutil
import signal
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from demonstration.name_server import NameServer
from tests.conftest import new_postgresql_database
from tests.fakes.web_server import Visit, WebServer
from tests.live.delivery import message_of, name_server, sink_zone, waiting
from tests.live.servers import PREFIX, AgentServer, need, running, until
from tests.world import basic
from xhmtp_wsgi.protocol.endpoint import Endpoint

pytestmark = [pytest.mark.live]

SETTINGS = "retry_first = 0.2\nretry_longest = 0.5\n"
ALICE, BOB = "alice@a.example", "bob@b.example"


@dataclass
class Inbox:
    """bob's feed, at whichever host the DNS names just now."""

    token: str
    host: AgentServer

    def items(self) -> list[dict[str, str]]:
        """All of it, page after page, newest first."""
        found: list[dict[str, str]] = []
        url = f"{self.host.url}/{PREFIX}/{quote(BOB, safe='')}?token={self.token}"
        while url:
            request = urllib.request.Request(url, headers={"Accept": "application/feed+json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                page = json.load(answer)
            found += page["items"]
            url = page.get("next_url", "")
            if url:
                url = (
                    f"{self.host.url}{urlsplit(url).path}?{urlsplit(url).query}&token={self.token}"
                )
        return found

    def guids(self) -> list[str]:
        return [item["id"] for item in self.items()]

    def opened_by(self, authorization: str) -> bool:
        url = f"{self.host.url}/{PREFIX}/{quote(BOB, safe='')}"
        request = urllib.request.Request(url, headers={"Authorization": authorization})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bool(answer.status == 200)

    def identifiers(self) -> Counter[str]:
        """The IDs of the messages, as often as they are there."""
        return Counter(item["url"].rpartition("/")[2] for item in self.items())


@dataclass
class Sending:
    """alice's program: hands in one message after another, and keeps the IDs of what was taken."""

    host: AgentServer
    taken: list[str] = field(default_factory=list)

    def send(self, to: str = BOB) -> str:
        body = f"From: {ALICE}\r\nTo: {to}\r\nSubject: {len(self.taken)}\r\n\r\nx\r\n".encode()
        request = urllib.request.Request(
            f"{self.host.url}/{PREFIX}/alice/", body,
            {"Content-Type": "message/rfc822", "Authorization": basic(ALICE, "wonderland")},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=30) as answer:
            self.taken.append(json.load(answer)["id"])
        return self.taken[-1]

    def go_on(self) -> None:
        """Waits until some more were taken."""
        more = len(self.taken) + 3
        until(lambda: len(self.taken) >= more, "alice goes on")

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Sends until this ends."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(0.05):
                self.send()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def zone(*hosts: AgentServer) -> str:
    """What the domains publish once their records are kept by nobody: step 1 of docs/moving.md."""
    return "".join(host.records() for host in hosts).replace(" 60 ", " 0 ")


def made(domain: str, address: str, directory: Path, dns: NameServer, **options: object):
    return AgentServer(
        domain, address, directory / f"{domain} at {address}", dns.port,
        extra_settings=SETTINGS, options=("--threads", "4"), **options,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def dns() -> Iterator[NameServer]:
    with name_server() as server:
        yield server


@contextmanager
def notifying(host: AgentServer) -> Iterator[None]:
    """Its notifier, pass after pass."""
    notifier = host.popen("xhmtp-notify", "--loop", "0.1")
    try:
        yield
    finally:
        notifier.send_signal(signal.SIGTERM)
        assert notifier.wait(60) == 0


def carried(old: AgentServer, new: AgentServer, domain: str, *options: str) -> str:
    """An export is made, copied to another machine, and taken in there; what the import said."""
    name = f"export-{time.monotonic_ns()}"
    old.must("xhmtp", "export", *options, domain, str(old.directory / name))
    shutil.copytree(old.directory / name, new.directory / name)
    tried = new.must("xhmtp", "import", "--dry-run", str(new.directory / name))
    said = new.must("xhmtp", "import", str(new.directory / name))
    assert tried.startswith(said)
    return said


def test_bobs_domain_moves_while_alice_goes_on_sending(
    tmp_path: Path, dns: NameServer, postgresql: str
):
    """From SQLite to PostgreSQL at that."""
    databases = new_postgresql_database(postgresql)
    a = made("a.example", "127.0.0.1", tmp_path, dns)
    old = made("b.example", "127.0.0.2", tmp_path, dns)
    new = made("b.example", "127.0.0.3", tmp_path, dns, database=next(databases), port=old.port)
    a.agent().accounts.add(Endpoint.parse(ALICE), "wonderland")
    old.agent().accounts.add(Endpoint.parse(BOB), "builder")
    feed = Inbox(old.must("xhmtp", "token", "add", BOB).strip(), old)
    dns.set_zone(zone(a, old))
    alice = Sending(a)
    try:
        with running(a, old), notifying(a), ExitStack() as later:
            with alice.going_on():
                until(lambda: len(feed.guids()) >= 3, "the first messages are there")
                before = feed.guids()
                carried(old, new, "b.example")
                later.enter_context(running(new))
                alice.go_on()
                until(lambda: len(feed.guids()) > len(before), "the old host takes more")
                dns.set_zone(zone(a, new))
                feed.host = new
                until(lambda: len(feed.guids()) > len(before), "the new host takes more")
                # Those who still have its old address find nobody, and try again.
                old.stop()
                alice.go_on()
                carried(old, new, "b.example")
            until(lambda: waiting(a.agent()) == 0, "everybody is told", 60)
            guids = feed.guids()
            assert feed.identifiers() == Counter(alice.taken)
            assert len(set(guids)) == len(guids)
            assert [one for one in guids if one in before] == before
            assert feed.opened_by(basic(BOB, "builder")), "his password works"
    finally:
        for _ in databases:
            pass


def test_alices_domain_moves_and_her_queue_is_told_once(tmp_path: Path, dns: NameServer):
    up = threading.Event()
    told: list[str] = []

    def sink(visit: Visit) -> None:
        while request := visit.request():
            code = b"201 Created" if up.is_set() else b"503 Service Unavailable"
            if up.is_set():
                told.append(message_of(request))
            visit.send(b"HTTP/1.1 " + code + b"\r\nContent-Length: 0\r\n\r\n")

    need("curl")
    with WebServer(sink) as carol:
        old = made("a.example", "127.0.0.1", tmp_path, dns)
        new = made("a.example", "127.0.0.4", tmp_path, dns, port=old.port)
        b = made("b.example", "127.0.0.2", tmp_path, dns)
        old.agent().accounts.add(Endpoint.parse(ALICE), "wonderland")
        b.agent().accounts.add(Endpoint.parse(BOB), None)
        feed = Inbox(b.must("xhmtp", "token", "add", BOB).strip(), b)
        record = old.must("xhmtp", "key", "add").split("\n  ")[1].partition("\n")[0]
        rest = sink_zone(["c.example"], carol.port) + record.replace(". TXT", ". 0 TXT", 1) + "\n"
        dns.set_zone(zone(old, b) + rest)
        alice = Sending(old)
        with running(old, b):
            late = [alice.send("carol@c.example") for _ in range(5)]
            first = [alice.send() for _ in range(5)]
            alice.send("nobody@b.example")
            old.must("xhmtp-notify")
            old.must("xhmtp-notify")
            links = {item["url"].rpartition("/")[2]: item["url"] for item in feed.items()}
            assert set(links) == set(first)
            assert old.curl("--fail", links[first[0]]).returncode == 0, "one is fetched before"
            untold = [alice.send() for _ in range(3)]
            # The move: no notifier is at work, and from here on this host tells nobody.
            carried(old, new, "a.example", "--hand-over")
            shutil.copytree(old.directory / "keys", new.directory / "keys")
            meanwhile = alice.send()
            with running(new):
                dns.set_zone(zone(new, b) + rest)
                old.stop()
                assert "messages sent: 1 added" in carried(old, new, "a.example", "--hand-over")
                up.set()
                old.must("xhmtp-notify"), old.must("xhmtp-notify")  # by mistake
                assert (told, set(links)) == ([], set(first)), "there is nothing left to tell there"
                until(lambda: not new.must("xhmtp-notify") and not waiting(new.agent()), "told")
                new.must("xhmtp-notify")
                assert sorted(told) == sorted(late)
                assert feed.identifiers() == Counter([*first, *untold, meanwhile])
                assert {item["content_text"].partition("signature: ")[2][:4]
                        for item in feed.items()} == {"pass"}  # fmt: skip
                alice.host = new
                for item in feed.items():
                    identifier = item["url"].rpartition("/")[2]
                    assert item["url"] == links.get(identifier, item["url"])
                    opened = new.curl("--fail", item["url"])
                    assert opened.stdout.startswith(b"From: alice@a.example\r\n"), opened.stderr
                fetched = json.loads(new.must("xhmtp", "status", "--json", first[0]))
                assert fetched["recipients"][0]["state"] == "fetched"
                assert alice.send() not in {*first, *untold}, "her password works"
                listed = new.must("xhmtp", "inbox", "--json", ALICE).splitlines()
                assert len(listed) == 1, "the report of what was refused, once"
                report = new.curl("--fail", json.loads(listed[0])["url"])
                assert b"multipart/report" in report.stdout
