"""A message goes from alice to bob: two gunicorn servers, nsd, curl, feedparser and newsboat."""

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import feedparser
import pytest

from tests.live.servers import PREFIX, AgentServer, Nsd, need, running

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("two_servers")]

MESSAGE = (
    b"From: Alice <alice@a.example>\r\n"
    b"To: Bob <bob@b.example>\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"\r\n"
    b"Dear Bob,\r\n\r\nno mail server has seen this.\r\n"
)


@dataclass
class World:
    """Two agents, a name server, and bob's feed token."""

    a: AgentServer
    b: AgentServer
    nsd: Nsd
    token: str
    directory: Path

    def inject(self, message: bytes, *arguments: str) -> tuple[int, dict[str, str], bytes]:
        """alice hands in a message with curl; status, headers, body."""
        file = self.directory / "message.eml"
        file.write_bytes(message)
        done = self.a.curl(
            "--user", "alice@a.example:wonderland",
            "--header", "Content-Type: message/rfc822",
            "--data-binary", f"@{file}",
            "--dump-header", str(self.directory / "headers"),
            "--write-out", "%{stderr}%{http_code}",
            *arguments,
            f"{self.a.url}/{PREFIX}/alice/",
        )  # fmt: skip
        headers = {}
        for line in (self.directory / "headers").read_text().splitlines():
            name, colon, value = line.partition(":")
            if colon:
                headers[name.lower()] = value.strip()
        return int(done.stderr), headers, done.stdout

    def feed(self) -> feedparser.FeedParserDict:
        """bob's feed, as feedparser gets it with his token."""
        user = quote("bob@b.example", safe="")
        return feedparser.parse(
            f"http://{user}:{self.token}@{self.b.address}:{self.b.port}/{PREFIX}/bob%40b.example"
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("two_servers")
    need("curl")
    nsd = Nsd(directory)
    a = AgentServer("a.example", "127.0.0.1", directory / "a", nsd.port)
    b = AgentServer(
        "b.example", "127.0.0.2", directory / "b", nsd.port,
        application="tests.live.flask_site:application",
        options=("--threads", "4"),
    )  # fmt: skip
    try:
        nsd.start({"a.example": a.zone(), "b.example": b.zone()})
        a.must("xhmtp", "user", "add", "alice@a.example", "-", typed="wonderland\n")
        b.must("xhmtp", "user", "add", "bob@b.example", "-", typed="builder\n")
        token = b.must("xhmtp", "token", "add", "bob@b.example").strip()
        with running(a, b):
            yield World(a, b, nsd, token, directory)
    finally:
        nsd.stop()


def test_a_message_arrives_as_the_senders_agent_stored_it(world: World):
    status, headers, body = world.inject(MESSAGE)
    assert status == 201
    assert headers["location"].startswith(f"/{PREFIX}/alice/")
    waiting = {"address": "bob@b.example", "state": "queued", "sealed": None}
    assert json.loads(body)["recipients"] == [waiting]

    assert world.a.must("xhmtp-notify") == "", "silent when all is well"

    entry = next(item for item in world.feed().entries if item.title == "Grüße")
    assert entry.author == "Alice <alice@a.example>"
    assert {"origin: pass", "agent: pass"} <= {tag.term for tag in entry.tags}
    stored = world.directory / "stored.eml"
    fetched = world.directory / "fetched.eml"
    world.a.curl(
        "--user", "alice@a.example:wonderland", "--output", str(stored),
        f"{world.a.url}{headers['location']}",
    )  # fmt: skip
    world.a.curl("--fail", "--output", str(fetched), entry.link)
    assert subprocess.run([need("cmp"), str(stored), str(fetched)], check=False).returncode == 0
    assert stored.read_bytes().endswith(MESSAGE.partition(b"\r\n\r\n")[2])

    told = world.a.curl(
        "--user", "alice@a.example:wonderland", f"{world.a.url}{headers['location']}/status"
    )
    assert json.loads(told.stdout)["recipients"][0]["state"] == "fetched"


def test_newsboat_shows_the_message(world: World):
    program = need("newsboat")
    world.inject(MESSAGE.replace(b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=", b"Subject: For newsboat"))
    world.a.must("xhmtp-notify")
    urls = world.directory / "urls"
    cache = world.directory / "newsboat.db"
    urls.write_text(
        f"http://bob%40b.example:{world.token}@{world.b.address}:{world.b.port}"
        f"/{PREFIX}/bob%40b.example\n"
    )
    (world.directory / "newsboat.conf").write_text("")
    done = subprocess.run(
        [program, "-u", str(urls), "-c", str(cache), "-C", str(world.directory / "newsboat.conf"),
         "-x", "reload"],
        capture_output=True, text=True, timeout=60, check=False,
        env={"HOME": str(world.directory), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    with sqlite3.connect(cache) as connection:
        found = dict(connection.execute("SELECT title, url FROM rss_item").fetchall())
    assert "For newsboat" in found
    assert urlsplit(found["For newsboat"]).hostname == world.a.host


def test_a_notification_by_hand_from_the_wrong_address_is_refused(world: World):
    before = [entry.id for entry in world.feed().entries]
    path = f"/{PREFIX}/alice/abcdefghijklmnopqrstuvwxyz"
    url = f"http://bob%40b.example:SECRET@{world.a.host}:{world.a.port}{path}"
    form = ["--data-urlencode", f"url={url}", "--data-urlencode", "headers=Subject: forged"]
    target = f"{world.b.url}/{PREFIX}/bob@b.example"

    wrong = world.b.curl("--interface", "127.0.0.9", "--write-out", "%{http_code}", *form, target)
    assert wrong.stdout.endswith(b"403")
    assert json.loads(wrong.stdout[:-3])["title"] == "Refused"
    assert [entry.id for entry in world.feed().entries] == before

    right = world.b.curl("--interface", "127.0.0.1", "--write-out", "%{http_code}", *form, target)
    assert right.stdout.endswith(b"201"), "the same from the right address is taken"


def test_the_same_message_id_again_is_sent_once(world: World):
    message = MESSAGE.replace(b"\r\n\r\n", b"\r\nMessage-ID: <once@a.example>\r\n\r\n", 1)
    first = world.inject(message)
    again = world.inject(message)
    assert (first[0], again[0]) == (201, 200)
    assert first[1]["location"] == again[1]["location"]


def test_a_chunked_injection_is_taken_where_the_server_passes_it_on(world: World):
    status, _, body = world.inject(
        MESSAGE.replace(b"Gr=C3=BC=C3=9Fe", b"chunked"), "--header", "Transfer-Encoding: chunked"
    )
    assert status == 201, body


def test_the_sites_own_pages_are_the_sites(world: World):
    assert b"the site's own" in world.b.curl(f"{world.b.url}/").stdout
    missing = world.b.curl("--write-out", "%{http_code}", f"{world.b.url}/{PREFIX}x/bob@b.example")
    assert b"<title>404 Not Found</title>" in missing.stdout
