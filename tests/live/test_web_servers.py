"""The life of a message under every web server that contrib/ has files for, with those files.

alice's agent and bob's run under the same kind of server, each its own; the notifier is the real
one, and asks a real name server. The promises are the same for every kind.
"""

import hashlib
import http.client
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import feedparser
import pytest

from demonstration.name_server import NameServer
from tests.live.servers import PREFIX, AgentServer, need, running, until
from tests.live.web_servers import CONTRIB, KINDS, ContribServer, directory_in_memory
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.basic_authentication import basic_credentials
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL

pytestmark = pytest.mark.live

ALICE = basic_credentials("alice@a.example", "wonderland")
BODY = b"0123456789 no mail server has seen this.\r\n"
HEAD = b"From: alice@a.example\r\nTo: bob@b.example\r\nSubject: %s\r\n\r\n"
LARGE = 50_000_000  # octets
STRANGER = "127.0.0.9"
"""The address of server.elsewhere.example: neither agent's, and no proxy's."""
FAIL2BAN = CONTRIB / "fail2ban" / "filter.d" / "xhmtp.conf"
PASSES_CHUNKS = frozenset(KINDS) - {"uwsgi"}
FEED_PATHS = (f"/{PREFIX}/bob%40b.example", f"/{PREFIX}/bob@b.example")
ODD_PATHS = (
    "//", "///xhmtp///", "/xhmtp//bob@b.example", "/xhmtp/../xhmtp/bob@b.example",
    "/xhmtp/%2e%2e/x", "/xhmtp/bob%2540b.example", "/xhmtp/bob%2Fx@b.example",
    "/xhmtp/%ff@b.example", "/xhmtp/%00",
    "/xhmtp/%0d%0aX:y@b.example", "/xhmtp/alice/?to=%ff", "/xhmtp/" + "a" * 2000, "/xhmtp/bob@",
    "/xhmtp;x=y/bob@b.example", "/%78hmtp/bob@b.example",
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a server answered; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(
    server: AgentServer,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    *,
    source: str = "127.0.0.1",
) -> Answer:
    """One request, from an address."""
    connection = http.client.HTTPConnection(
        server.address, server.port, timeout=60, source_address=(source, 0)
    )
    host = {"Host": f"{server.host}:{server.port}"}
    with closing(connection):
        connection.request(method, target, body, host | dict(headers or {}))
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())


def octets_of(server: AgentServer, request: str) -> bytes:
    """All that a server sends for a request that ends the connection."""
    with socket.create_connection((server.address, server.port), timeout=30) as connection:
        connection.sendall(request.encode())
        with connection.makefile("rb") as stream:
            return stream.read()


@dataclass
class World:
    """Two agents under one kind of server, a name server, and bob's feed token."""

    kind: str
    a: ContribServer
    b: ContribServer
    token: str
    directory: Path

    def inject(self, message: bytes, *options: str) -> tuple[int, dict[str, str], bytes]:
        """alice hands in a message with curl; status, headers, body."""
        file = self.directory / "message.eml"
        file.write_bytes(message)
        return self.inject_file(file, *options)

    def inject_file(self, file: Path, *options: str) -> tuple[int, dict[str, str], bytes]:
        headers = self.directory / "headers"
        done = self.a.curl(
            "--user", "alice@a.example:wonderland", "--header", "Content-Type: message/rfc822",
            "--data-binary", f"@{file}", "--dump-header", str(headers),
            "--write-out", "%{stderr}%{http_code}", *options, f"{self.a.url}/{PREFIX}/alice/",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        fields = (line.partition(":") for line in headers.read_text().splitlines())
        found = {name.lower(): value.strip() for name, colon, value in fields if colon}
        return int(done.stderr), found, done.stdout

    def feed(self) -> feedparser.FeedParserDict:
        """bob's feed, read with his token."""
        answer = ask(self.b, "GET", f"{FEED_PATHS[0]}?token={self.token}")
        assert answer.status == 200
        return feedparser.parse(answer.body)

    def notify_by_hand(
        self,
        host: str,
        source: str,
        path: str = FEED_PATHS[0],
        headers: Mapping[str, str] | None = None,
        name: str = "told" * 6 + "by",
    ) -> Answer:
        """A notification of a message on that host, from that address."""
        url = f"http://bob%40b.example:SECRET@{host}:8080/{PREFIX}/x/{name}"
        form = urlencode({"url": url, "headers": "Subject: by hand"}).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return ask(self.b, "POST", path, kind | dict(headers or {}), form, source=source)


@dataclass(frozen=True)
class Letter:
    """A message that has come all the way into bob's feed, and was asked for by HEAD."""

    location: str
    target: str
    credentials: str
    head: bytes
    state_after_head: str
    tags: frozenset[str]


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=pytest.mark.xdist_group(f"under-{kind}")) for kind in KINDS],
)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    need("curl")
    kind = request.param
    with directory_in_memory() as directory, NameServer() as dns:
        a = KINDS[kind]("a.example", "127.0.0.1", directory / "a", dns.port)
        b = KINDS[kind]("b.example", "127.0.0.2", directory / "b", dns.port)
        key = _with_account(a, "alice@a.example", "wonderland").signing_keys.add("a.example")
        bob = _with_account(b, "bob@b.example", "builder")
        token = bob.accounts.add_token(Endpoint.parse("bob@b.example"), "reader")
        bob.database.close()
        key_record = key.record.replace(" TXT ", " 60 TXT ")
        stranger = f"server.elsewhere.example. 60 A {STRANGER}"
        dns.set_zone("\n".join((a.records(), b.records(), key_record, stranger)))
        with running(a, b):
            yield World(kind, a, b, token, directory)


@pytest.fixture(scope="module")
def letter(world: World) -> Letter:
    status, headers, body = world.inject(HEAD % b"The letter" + BODY)
    assert status == 201, body
    waiting = {"address": "bob@b.example", "state": "queued", "sealed": None}
    assert json.loads(body)["recipients"] == [waiting]
    assert world.a.must("xhmtp-notify") == "", "silent when all is well"
    entry = next(item for item in world.feed().entries if item.title == "The letter")
    url = MessageURL.parse(entry.link)
    assert (url.host, url.port) == (world.a.host, world.a.port)
    credentials = basic_credentials("bob@b.example", entry.link.split(":")[2].split("@")[0])
    head = octets_of(
        world.a,
        f"HEAD {url.path} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n"
        f"Authorization: {credentials}\r\nConnection: close\r\n\r\n",
    )
    told = ask(world.a, "GET", f"{headers['location']}/status", {"Authorization": ALICE})
    return Letter(
        location=headers["location"],
        target=url.path,
        credentials=credentials,
        head=head,
        state_after_head=json.loads(told.body)["recipients"][0]["state"],
        tags=frozenset(tag.term for tag in entry.tags),
    )


def test_a_message_arrives_as_the_senders_agent_stored_it(world: World, letter: Letter):
    assert {"origin: pass", "agent: pass", "signature: pass"} <= letter.tags
    stored = ask(world.a, "GET", letter.location, {"Authorization": ALICE})
    fetched = ask(world.a, "GET", letter.target, {"Authorization": letter.credentials})
    assert (stored.status, fetched.status) == (200, 200)
    assert stored.body == fetched.body
    assert fetched.body.endswith(b"\r\n\r\n" + BODY)
    assert fetched.headers["content-type"] == "message/rfc822"
    told = ask(world.a, "GET", f"{letter.location}/status", {"Authorization": ALICE})
    assert json.loads(told.body)["recipients"][0]["state"] == "fetched"


def test_head_has_the_length_and_no_body_and_is_no_fetch(world: World, letter: Letter):
    whole = ask(world.a, "GET", letter.target, {"Authorization": letter.credentials})
    assert f"\r\ncontent-length: {len(whole.body)}\r\n" in letter.head.decode().lower()
    assert letter.head.startswith(b"HTTP/1.1 200 ")
    assert letter.head.endswith(b"\r\n\r\n")
    assert letter.state_after_head == "notified"

    feed = ask(world.b, "GET", f"{FEED_PATHS[0]}?token={world.token}")
    head = octets_of(
        world.b,
        f"HEAD {FEED_PATHS[0]}?token={world.token} HTTP/1.1\r\nHost: {world.b.host}\r\n"
        "Connection: close\r\n\r\n",
    )
    assert f"\r\ncontent-length: {len(feed.body)}\r\n" in head.decode().lower()
    assert head.endswith(b"\r\n\r\n")


def test_both_spellings_of_an_address_are_one_inbox(world: World, letter: Letter):
    encoded, plain = (ask(world.b, "GET", f"{path}?token={world.token}") for path in FEED_PATHS)
    assert (encoded.status, plain.status) == (200, 200)
    assert encoded.body == plain.body
    assert b"The letter" in plain.body
    name = "bothspellingsareoneaddress"
    by_either = [
        world.notify_by_hand(world.a.host, "127.0.0.1", path, name=name).status
        for path in FEED_PATHS
    ]
    assert by_either == [201, 200], "taken, then had already"


def test_a_part_of_a_message_is_sent_alone(world: World, letter: Letter):
    def fetched(**headers: str) -> Answer:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"Authorization": letter.credentials, **fields}
        return ask(world.a, "GET", letter.target, given)

    whole = fetched()
    size = len(whole.body)
    part = fetched(Range="bytes=10-19")
    assert (part.status, part.body) == (206, whole.body[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{size}"
    assert fetched(Range="bytes=-5").body == whole.body[-5:]
    beyond = fetched(Range=f"bytes={size}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    same = fetched(Range="bytes=10-19", If_Range=whole.headers["etag"])
    assert (same.status, same.body) == (206, whole.body[10:20])
    other = fetched(Range="bytes=10-19", If_Range='"another"')
    assert (other.status, other.body) == (200, whole.body)
    several = fetched(Range="bytes=0-1,5-6")
    assert (several.status, several.body) == (200, whole.body)


def test_what_has_not_changed_is_not_sent_again(world: World, letter: Letter):
    gzip = {"Accept-Encoding": "gzip, deflate"}  # as every feed reader asks
    feed = f"{FEED_PATHS[1]}?token={world.token}"
    for server, target, headers in (
        (world.a, letter.target, {"Authorization": letter.credentials}),
        (world.b, feed, {}),
    ):
        first = ask(server, "GET", target, headers | gzip)
        known = {"If-None-Match": first.headers["etag"]}
        again = ask(server, "GET", target, headers | gzip | known)
        assert (first.status, again.status, again.body) == (200, 304, b""), target


def test_a_wrong_code_opens_nothing(world: World, letter: Letter):
    wrong = basic_credentials("bob@b.example", "wrong")
    for headers in ({}, {"Authorization": wrong}):
        answer = ask(world.a, "GET", letter.target, headers)
        assert answer.status == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Basic ")
    right = ask(world.a, "GET", letter.target, {"Authorization": letter.credentials})
    assert right.status == 200, "Authorization has arrived"


def test_a_chunked_injection_is_taken_or_refused_in_plain_words(world: World):
    status, headers, body = world.inject(
        HEAD % b"In pieces" + BODY, "--header", "Transfer-Encoding: chunked"
    )
    if world.kind in PASSES_CHUNKS:
        assert status == 201, body
        stored = ask(world.a, "GET", headers["location"], {"Authorization": ALICE})
        assert stored.body.endswith(b"\r\n\r\n" + BODY)
    else:
        assert status == 411
        assert headers["content-type"] == "application/problem+json"
        assert "send a Content-Length" in json.loads(body)["detail"]


def test_a_message_of_50_mb_arrives_whole(world: World):
    file = world.directory / "large.eml"
    digest = _write_large(file)
    status, headers, body = world.inject_file(file)
    assert status == 201, body
    out = world.directory / "fetched.eml"
    try:
        world.a.curl(
            "--fail", "--user", "alice@a.example:wonderland", "--output", str(out),
            f"{world.a.url}{headers['location']}",
        )  # fmt: skip
        with out.open("rb") as fetched:
            assert hashlib.file_digest(fetched, "sha256").hexdigest() == digest
    finally:
        file.unlink()
        out.unlink(missing_ok=True)


def test_what_is_told_to_be_too_large_is_refused_before_it_is_sent(world: World):
    request = (
        f"POST /{PREFIX}/alice/ HTTP/1.1\r\nHost: {world.a.host}\r\nAuthorization: {ALICE}\r\n"
        "Content-Type: message/rfc822\r\nContent-Length: 9000000000\r\n\r\n"
    )
    with socket.create_connection((world.a.address, world.a.port), timeout=30) as connection:
        connection.sendall(request.encode())
        with connection.makefile("rb") as stream:
            assert stream.readline().startswith(b"HTTP/1.1 413 ")


def test_the_sites_own_pages_are_the_sites(world: World):
    for path in ("/", "/page", f"/{PREFIX}x/bob@b.example"):
        answer = ask(world.b, "POST", f"{path}?a=%20b", None, b"untouched")
        assert answer.headers["x-site"] == "its own"
        assert json.loads(answer.body) == {
            "method": "POST", "scheme": "http", "script": "", "path": path, "query": "a=%20b",
            "body": "untouched",
        }  # fmt: skip
    missing = ask(world.b, "GET", f"/{PREFIX}/nothing")
    assert (missing.status, "x-site" in missing.headers) == (404, False)


def test_no_client_may_say_where_the_site_is(world: World):
    answer = octets_of(
        world.b,
        f"GET /page HTTP/1.1\r\nHost: {world.b.host}\r\nX-Forwarded-Proto: https\r\n"
        "X-Forwarded-Host: evil.example\r\nSCRIPT_NAME: /page\r\nPATH_INFO: /xhmtp/\r\n"
        "Connection: close\r\n\r\n",
    )
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (told["scheme"], told["script"], told["path"]) == ("http", "", "/page")


def test_nothing_listens_but_what_the_configuration_names(world: World):
    assert world.b.listening_ports() == {world.b.port, *world.b.inner_ports}


def test_the_origin_is_where_the_client_truly_is(world: World):
    before = len(world.feed().entries)
    mine = "server.elsewhere.example"
    here = "127.0.0.1"
    claims = {"X-Forwarded-For": here, "X-Real-IP": here, "Forwarded": f"for={here}"}
    forged = [
        world.notify_by_hand(world.a.host, STRANGER),
        world.notify_by_hand(world.a.host, STRANGER, headers=claims),
        world.notify_by_hand(mine, here, headers={"X-Forwarded-For": STRANGER}),
    ]
    assert [answer.status for answer in forged] == [403, 403, 403]
    assert len(world.feed().entries) == before
    right = world.notify_by_hand(mine, STRANGER)
    assert right.status == 201, right.body


def test_no_path_is_an_error_of_the_servers(world: World):
    for path in ODD_PATHS:
        answer = octets_of(
            world.b, f"GET {path} HTTP/1.1\r\nHost: {world.b.host}\r\nConnection: close\r\n\r\n"
        )
        status = int(answer.split(b" ", 2)[1])
        assert 200 <= status < 500, (path, answer[:300])


def test_the_logs_have_failed_logins_with_their_time_and_no_token(world: World):
    leaky = f"http://reader.example/?token={world.token}"
    ask(world.b, "GET", f"{FEED_PATHS[0]}?token={world.token}", {"Referer": leaky})
    ask(world.b, "GET", f"{FEED_PATHS[0]}?token=wrong", source=STRANGER)
    # In the file that contrib/fail2ban would be given, and not only somewhere.
    errors = world.b.error_log
    until(lambda: f"failed log-in from {STRANGER}" in errors.read_text(), "it is logged")
    if world.kind != "waitress":  # which keeps no access log
        until(lambda: f"{STRANGER} [" in world.b.logs(), "requests are logged")
    logged = world.b.logs()
    assert world.token not in logged
    program = shutil.which("fail2ban-regex")
    if program is not None:
        done = subprocess.run(
            [program, "--out", "ip", str(errors), str(FAIL2BAN)], capture_output=True, text=True
        )
        assert (done.returncode, set(done.stdout.split())) == (0, {STRANGER})
    failed = next(line for line in errors.read_text().splitlines() if line.endswith(STRANGER))
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", failed), "fail2ban wants the time"


def _with_account(server: AgentServer, address: str, password: str) -> Agent:
    agent = server.agent()
    agent.accounts.add(Endpoint.parse(address), password)
    return agent


def _write_large(file: Path) -> str:
    """A message of LARGE octets that nothing is added to; its digest."""
    digest = hashlib.sha256()
    head = HEAD.replace(
        b"Subject",
        b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nMessage-ID: <large@a.example>\r\nSubject",
    )
    piece = head % b"Large"
    left = LARGE
    with file.open("wb") as target:
        while piece:
            target.write(piece)
            digest.update(piece)
            left -= len(piece)
            piece = (hashlib.sha256(piece).digest() * 32768)[:left]
    return digest.hexdigest()
