"""Two sites, a.example and b.example, on loopback: a message goes from alice to bob, step by step.

Everything is real: two web servers on two addresses, a name server, two databases, the notifier.
Only the domains are made up, and the ports are whatever is free.
"""

import argparse
import base64
import hashlib
import json
import os
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from demonstration.name_server import NameServer
from xhmtp_wsgi import XHMTP
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.sender.notifier import Notifier

SITE_ADDRESSES = {"a.example": "127.0.0.1", "b.example": "127.0.0.2"}
# A name below localhost is one that browsers and curl find on loopback without our name server, so
# that the links in bob's feed can be followed.
HOSTS = {"a.example": "a.localhost", "b.example": "www.b.example"}
USERS = {"a.example": ("alice@a.example", "wonderland"), "b.example": ("bob@b.example", "builder")}
PREFIX = "xhmtp"

SETTINGS = """\
database = "sqlite:///{name}.db"
resolver = ["127.0.0.1:{dns_port}"]
allow_networks = ["127.0.0.0/8"]     # only because this is a demonstration on loopback

[domain."{name}"]
"""


@dataclass(frozen=True)
class Site:
    """One of the two sites, as it serves."""

    domain: str
    application: XHMTP
    port: int

    @property
    def url(self) -> str:
        return f"http://{SITE_ADDRESSES[self.domain]}:{self.port}"

    def below(self, path: str) -> str:
        return f"{self.url}/{PREFIX}/{path}"


class _QuietHandler(WSGIRequestHandler):
    """Says nothing: what happens is told step by step instead."""

    protocol_version = "HTTP/1.1"

    def log(self, kind: str, message: str, *args: object) -> None:
        pass


def main(make_site: Callable[[str, str], XHMTP]) -> None:
    """Runs the demonstration; exit 0 if every octet of the message arrived."""
    arguments = _parser().parse_args()
    message = _read(arguments.message) if arguments.message else _message().as_bytes()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xhmtp-")))
        name_server = stack.enter_context(NameServer())
        sites = [
            stack.enter_context(_serving(domain, make_site, directory, name_server.port))
            for domain in SITE_ADDRESSES
        ]
        name_server.set_zone(_zone(sites))
        name_server.on_question = lambda question, answer: _say("DNS", f"{question} → {answer}")
        arrived = _life_of_a_message(sites[0], sites[1], message)
        name_server.on_question = None
        if not arguments.once:
            _keep_serving(sites)
    sys.exit(0 if arrived else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Two sites send each other a message.")
    parser.add_argument("--once", action="store_true", help="end after the delivery")
    parser.add_argument("--message", metavar="FILE", help="send this message to bob")
    return parser


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        print(f"example_app.py: {path}: {error.strerror}", file=sys.stderr)
        sys.exit(2)


def _message() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Alice <alice@a.example>"
    message["To"] = "Bob <bob@b.example>"
    message["Subject"] = "Grüße über XHMTP"
    message.set_content("Dear Bob,\n\nno mail server has seen this.\n\nAlice\n")
    message.add_attachment(
        os.urandom(100_000), maintype="application", subtype="octet-stream", filename="random.bin"
    )
    return message


@contextmanager
def _serving(
    domain: str, make_site: Callable[[str, str], XHMTP], directory: Path, dns_port: int
) -> Iterator[Site]:
    settings = directory / f"{domain}.toml"
    settings.write_text(SETTINGS.format(name=domain, dns_port=dns_port))
    application = make_site(domain, str(settings))
    address, password = USERS[domain]
    application.agent.accounts.add(Endpoint.parse(address), password)
    server: BaseWSGIServer = make_server(
        SITE_ADDRESSES[domain], 0, application, threaded=True, request_handler=_QuietHandler
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Site(domain, application, server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        application.agent.database.close()


def _zone(sites: list[Site]) -> str:
    lines = []
    for site in sites:
        name = site.domain
        lines += [
            f"_xhmtp._tcp.{name}. 60 SRV 0 0 {site.port} {HOSTS[name]}.",
            f'_prefix._xhmtp.{name}. 60 TXT "{PREFIX}"',
            f"{HOSTS[name]}. 60 A {SITE_ADDRESSES[name]}",
        ]
    return "\n".join(lines) + "\n"


def _life_of_a_message(a: Site, b: Site, message: bytes) -> bool:
    _say("1", f"alice hands a message of {len(message)} octets to her agent")
    created = _request(a.below("alice/?to=bob@b.example"), *USERS["a.example"], body=message)
    if created.status not in (200, 201):
        _say("POST", f"{a.below('alice/')} → {created.status} {created.body.decode()}")
        return False
    _say("POST", f"{a.below('alice/')} → {created.status}, Location: {created.location}")

    _say("2", "the notifier takes what is due")
    report = Notifier(a.application.agent).run_pass()
    status = _request(f"{a.url}{created.location}/status", *USERS["a.example"])
    _say("POST", f"notified {report.notified}: {_last_answer(status.body)}")

    token = b.application.agent.accounts.add_token(Endpoint.parse("bob@b.example"), "example")
    feed = _request(b.below("bob@b.example"), "bob@b.example", token)
    _say("3", f"bob's reader gets his feed → {feed.status}")
    items = ElementTree.fromstring(feed.body).findall("./channel/item")
    if not items:
        _say("FEED", "nothing in it")
        return False
    item = items[0]
    link = item.findtext("link") or ""
    _say("FEED", f"“{item.findtext('title')}” from {item.findtext('author')}")
    _say("FEED", f"link {_without_code(link)}")

    fetched, said = _fetch(link, a)
    _say("GET", f"from the sender's agent → {fetched.status}, {len(fetched.body)} octets")
    digest = base64.b64encode(hashlib.sha256(fetched.body).digest()).decode()
    stored = _request(f"{a.url}{created.location}", *USERS["a.example"]).body
    same = f"sha-256=:{digest}:" == said and fetched.body == stored
    _say("4", f"digest told {said}, counted sha-256=:{digest}:")
    _say("4", "every octet arrived" if same else "THE MESSAGE IS NOT THE SAME")
    return same


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    location: str
    digest: str


def _request(url: str, user: str, password: str, body: bytes | None = None) -> _Answer:
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "message/rfc822"}
    request = urllib.request.Request(url, body, headers)
    try:
        answer = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        headers = answer.headers
        return _Answer(
            answer.status,
            answer.read(),
            headers.get("Location", ""),
            headers.get("Repr-Digest", ""),
        )


def _fetch(link: str, a: Site) -> tuple[_Answer, str]:
    """As a reader does: with the credentials in the link. The made-up name is put in its place."""
    parts = urlsplit(link)
    user = (parts.username or "").replace("%40", "@")
    answer = _request(f"{a.url}{parts.path}", user, parts.password or "")
    return answer, answer.digest


def _without_code(link: str) -> str:
    parts = urlsplit(link)
    return link.replace(f":{parts.password}@", ":…@")


def _last_answer(body: bytes) -> str:
    return str(json.loads(body)["recipients"][0]["last-answer"])


def _keep_serving(sites: list[Site]) -> None:
    print()
    for site in sites:
        user, password = USERS[site.domain]
        print(f"{site.domain}: {site.url}/")
        print(f"  inbox feed  {site.below(user)}   user {user}   password {password}")
    print("Ctrl-C ends it. Until then the notifier looks at the queues every second.")
    try:
        while True:
            for site in sites:
                Notifier(site.application.agent).run_pass()
            time.sleep(1)
    except KeyboardInterrupt:
        print()


def _say(who: str, what: str) -> None:
    print(f"{who:>5}  {what}", flush=True)
