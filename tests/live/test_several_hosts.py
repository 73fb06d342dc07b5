"""Two web hosts and three notifiers on one PostgreSQL; one host is cut off, one notifier killed.

Each host is a network namespace (network_hosts.py); PostgreSQL, the DNS and the second domain's
agent are in the middle. Messages are handed in at both hosts all the time, as clients do it: where
no answer comes, again with the same Message-ID at the other. XHMTP_HOSTS_MESSAGES: how many.
"""

import http.client
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import select

from demonstration.name_server import NameServer
from tests.live.delivery import states, told, waiting
from tests.live.network_hosts import NETWORK, Host, hosts
from tests.live.own_postgresql import own_postgresql
from tests.live.servers import PREFIX, AgentServer, running, until
from tests.world import basic
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.sender.tables import deliveries

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("several_hosts")]

MESSAGES = int(os.environ.get("XHMTP_HOSTS_MESSAGES", "200"))
BETWEEN = min(0.05, 10 / MESSAGES)  # seconds from one message of a client's to its next
ALICE, CAROL = "alice@a.example", "carol@a.example"
BOB, BEN = "bob@b.example", "ben@b.example"
PORT = 8000  # of every host
NAME = "xhmtp.a.example"
"""All hosts of a.example: what message URLs are made of, and so named by its SRV record too."""
# A database's server lets go of what a host held that is gone: sooner than connections of ours
# ask it to, which leave it at that.
LETS_GO = (
    "tcp_keepalives_idle=1", "tcp_keepalives_interval=1", "tcp_keepalives_count=2",
    "tcp_user_timeout=2000", "idle_in_transaction_session_timeout=3000",
)  # fmt: skip
SETTINGS = """database = "{database}"
resolver = ["{address}:{dns}"]
allow_networks = ["{network}"]
page_size = 100000
lease = 8
try_deadline = 7
retry_first = 0.5
retry_longest = 1
[domain."{domain}"]
agent = "http://{name}:8000"
"""


def hand_in(host: Host, name: str, *recipients: str) -> str:
    """Hands in a message, its Message-ID that name; its ID. Raises OSError if it was not taken."""
    message = (
        f"From: {ALICE}\r\nTo: {', '.join(recipients)}\r\nMessage-ID: <{name}>\r\n"
        f"Subject: {name}\r\n\r\n{'x' * 2000}"
    )
    headers = {"Content-Type": "message/rfc822", "Authorization": basic(ALICE, "wonderland")}
    connection = http.client.HTTPConnection(host.address, PORT, timeout=4)
    try:
        connection.request("POST", f"/{PREFIX}/alice/", message.encode(), headers)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    if answer.status == 503:
        raise OSError("not now")
    assert answer.status in (200, 201), answer.status
    return str(answer.headers["Location"]).rpartition("/")[2]


@dataclass
class Sending:
    """Clients that hand in messages, each at a host of its own while that answers."""

    hosts: tuple[Host, ...]
    acknowledged: dict[str, str] = field(default_factory=dict)
    """By Message-ID the message's ID, as told with 201, or 200 where it was known already."""
    at: Counter[str] = field(default_factory=Counter)
    handed_in_again: set[str] = field(default_factory=set)
    contradicted: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begins, on the host that this thread is on."""
        self.threads = [threading.Thread(target=self._work, args=(one,)) for one in self.hosts]
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Ends when each client has had its last message acknowledged."""
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def abandon(self) -> None:
        """Ends whatever has become of the last messages, as after a failure."""
        self.abandoned.set()
        self.stop()

    def _work(self, own: Host) -> None:
        other = next(host for host in self.hosts if host is not own)
        number, away = 0, 0
        while not self.ended.wait(BETWEEN):
            number += 1
            # Whose own host did not answer tries it again after some messages.
            away = max(away - 1, 0)
            host = other if away else own
            while not (self._handed_in(host, f"{number}@{own.name}") or self.abandoned.is_set()):
                self.handed_in_again.add(f"{number}@{own.name}")
                host, away = (other, 20) if host is own else (own, 0)

    def _handed_in(self, host: Host, name: str) -> bool:
        """Was it acknowledged?"""
        try:
            identifier = hand_in(host, name, BOB, BEN)
        except (OSError, http.client.HTTPException):
            return False
        if self.acknowledged.setdefault(name, identifier) != identifier:
            self.contradicted.append(name)
        self.at[host.name] += 1
        return True


@dataclass
class Sites:
    """All that is there."""

    middle: Host
    hosts: tuple[Host, Host]
    web: tuple[AgentServer, AgentServer]
    b: AgentServer
    database: str
    agent: Agent
    receiving: Agent

    def notifier(self, host: Host, server: AgentServer) -> "Popen[bytes]":
        with host.inside():
            return server.popen("xhmtp-notify", "--loop", "0.1")

    def told(self) -> int:
        """How many notifications bob has."""
        return len(told(self.receiving, BOB))


def server(
    host: Host, middle: Host, domain: str, directory: Path, dns: int, database: str, name: str
):
    """An agent with a directory, settings and a key directory of its own, as on another machine."""
    made = AgentServer(
        domain, host.address, directory, dns, port=PORT, options=("--threads", "4"), forked=False
    )
    made.settings.write_text(
        SETTINGS.format(
            database=database, address=middle.address, dns=dns, network=NETWORK, domain=domain,
            name=name,
        )
    )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    directory = tmp_path_factory.mktemp("hosts")
    with ExitStack() as stack:
        middle, one, two = stack.enter_context(hosts(2))
        stack.enter_context(middle.inside())
        postgresql = stack.enter_context(own_postgresql(middle.address, LETS_GO))
        dns = NameServer(address=middle.address)
        stack.enter_context(dns)
        database = postgresql.url.replace("postgresql:", "postgresql+psycopg:")
        web = tuple(
            server(host, middle, "a.example", directory / host.name, dns.port, database, NAME)
            for host in (one, two)
        )
        of_b = f"sqlite:///{directory}/b.db"
        b = server(middle, middle, "b.example", directory / "b", dns.port, of_b, "server.b.example")
        agent, receiving = web[0].agent(), b.agent()
        stack.callback(agent.database.close)
        stack.callback(receiving.database.close)
        agent.accounts.add(Endpoint.parse(ALICE), "wonderland")
        agent.accounts.add(Endpoint.parse(CAROL), "lewis")
        for reader in (BOB, BEN):
            receiving.accounts.add(Endpoint.parse(reader), "builder")
        key = agent.signing_keys.add("a.example")
        # Each host needs the key files: docs/scaling.md.
        shutil.copytree(web[0].directory / "keys", web[1].directory / "keys")
        dns.set_zone(_zone((one, two), middle, key.record))
        # Noted once, it signs without the DNS: what is not signed is taken from web hosts alone.
        assert agent.signing_keys.signer("a.example") is not None
        stack.enter_context(running(b))
        for host, its in zip((one, two), web, strict=True):
            with host.inside():
                its.start()
            stack.callback(its.stop)
        yield Sites(middle, (one, two), web, b, postgresql.url, agent, receiving)


def _zone(web: tuple[Host, Host], middle: Host, key: str) -> str:
    lines = [
        key,
        f'_prefix._xhmtp.a.example. TXT "{PREFIX}"',
        f'_prefix._xhmtp.b.example. TXT "{PREFIX}"',
    ]
    for number, host in enumerate(web):
        lines += [
            f"_xhmtp._tcp.a.example. SRV 10 1 {PORT} web{number}.a.example.",
            f"web{number}.a.example. A {host.address}",
            f"{NAME}. A {host.address}",
        ]
    lines += [
        f"_xhmtp._tcp.a.example. SRV 20 0 {PORT} {NAME}.",
        f"_xhmtp._tcp.b.example. SRV 0 0 {PORT} server.b.example.",
        f"server.b.example. A {middle.address}",
    ]
    return "\n".join(lines) + "\n"


def feed(host: Host, reader: str, password: str) -> list[dict[str, str]]:
    """All items of a feed, over HTTP. Raises OSError where the host does not answer, or not now."""
    connection = http.client.HTTPConnection(host.address, PORT, timeout=30)
    headers = {"Accept": "application/feed+json", "Authorization": basic(reader, password)}
    try:
        connection.request("GET", f"/{PREFIX}/{quote(reader)}", headers=headers)
        answer = connection.getresponse()
        if answer.status == 503:
            raise OSError("not now")
        assert answer.status == 200
        items: list[dict[str, str]] = json.loads(answer.read())["items"]
    finally:
        connection.close()
    return items


def test_a_host_cut_off_and_a_notifier_killed_lose_nothing_and_tell_nobody_twice(sites: Sites):
    one, two = sites.hosts
    sending = Sending(sites.hosts)
    first = sites.notifier(one, sites.web[0])
    second = sites.notifier(two, sites.web[1])
    third = sites.notifier(sites.middle, sites.web[1])
    try:
        sending.start()
        until(lambda: len(sending.acknowledged) >= MESSAGES / 4 and sites.told() > 0, "work", 60)
        # The worst moment: in the middle of a transaction that holds alice's row.
        with one.inside():
            held = psycopg.connect(sites.database)
            held.execute("SELECT * FROM sender_usage FOR UPDATE")
        one.cut_off()
        third.kill()
        third.wait()
        at_one, acknowledged, told_then = (
            sending.at[one.name],
            len(sending.acknowledged),
            sites.told(),
        )
        until(lambda: len(sending.acknowledged) >= max(acknowledged + 20, MESSAGES / 2), "on", 60)
        until(lambda: sites.told() >= told_then + 20, "the notifier that is left tells", 60)
        # An answer that was on its way may have come through.
        assert sending.at[one.name] <= at_one + 1
        one.join()
        with suppress(psycopg.Error):
            held.close()
        here = sending.at[one.name]
        until(lambda: sending.at[one.name] >= here + 10, "the host is there again", 60)
        until(lambda: len(sending.acknowledged) >= MESSAGES, "enough", 600)
        # What is left is told by the notifier of the host that was cut off.
        second.terminate()
        assert second.wait(60) == 0
        rest = len(sending.acknowledged)
        until(lambda: len(sending.acknowledged) >= rest + 10, "some more", 60)
        sending.stop()
        assert first.poll() is None, "it has outlived the cut"
        until(lambda: waiting(sites.agent) == 0, "everybody is told", 120)
    finally:
        sending.abandon()
        for notifier in (first, second, third):
            notifier.kill()
            notifier.wait()
    assert sending.handed_in_again, "some were in the cut"
    assert sending.contradicted == [], "the same again is the same message"
    assert states(sites.agent).keys() == {"notified"}, _untold(sites)
    for reader in (BOB, BEN):
        items = feed(sites.middle, reader, "builder")
        arrived = Counter(item["url"].rpartition("/")[2] for item in items)
        assert arrived == Counter(sending.acknowledged.values()), "each once, and nothing else"
        assert Counter(item["title"] for item in items) == Counter(list(sending.acknowledged))
    for host, item in zip(sites.hosts * 3, items, strict=False):
        assert _fetched(host, item) == item["title"], "either host has every message"


def test_a_domain_of_two_hosts_is_told_while_one_is_cut_off(sites: Sites):
    one, two = sites.hosts
    one.cut_off()
    names = [f"{number}@c.example" for number in range(4)]
    identifiers = [hand_in(two, name, CAROL) for name in names]
    notifier = sites.notifier(two, sites.web[1])
    try:
        until(lambda: waiting(sites.agent) == 0, "she is told", 60)
    finally:
        notifier.kill()
        notifier.wait()
    at_two = feed(two, CAROL, "lewis")
    assert Counter(item["url"].rpartition("/")[2] for item in at_two) == Counter(identifiers)
    one.join()
    until(lambda: _feed_or_nothing(one) == at_two, "her feed is the same at both", 60)


def _feed_or_nothing(host: Host) -> list[dict[str, str]]:
    try:
        return feed(host, CAROL, "lewis")
    except OSError:
        return []


def _untold(sites: Sites) -> list[object]:
    """What was answered where somebody was not told."""
    with sites.agent.database.reading() as connection:
        answers = select(deliveries.c.recipient, deliveries.c.state, deliveries.c.last_answer)
        return list(connection.execute(answers.where(deliveries.c.state != "notified")))


def _fetched(host: Host, item: dict[str, str]) -> str:
    """The subject of a message, fetched from that host with the link of the feed."""
    link = item["url"].removeprefix("http://")
    credentials, _, place = link.partition("@")
    user, _, code = credentials.partition(":")
    connection = http.client.HTTPConnection(host.address, PORT, timeout=30)
    headers = {"Host": f"{NAME}:{PORT}", "Authorization": basic(user.replace("%40", "@"), code)}
    connection.request("GET", "/" + place.partition("/")[2], headers=headers)
    answer = connection.getresponse()
    octets = answer.read().decode()
    connection.close()
    assert answer.status == 200, octets
    return octets.partition("Subject: ")[2].partition("\r\n")[0]
