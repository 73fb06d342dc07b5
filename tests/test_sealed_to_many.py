"""A sealed message to 100 recipients on 10 domains, five of them without a key: the policy decides,
and she is told before anything is sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tests.sealed_world import notices, opened
from tests.templates import copy_sqlite
from tests.world import ZONE, World, basic, call, site
from xhmtp_wsgi import XHMTP, Settings
from xhmtp_wsgi.agent import make_agent
from xhmtp_wsgi.errors import ConnectionFailed
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.sealing import Identity, is_sealed
from xhmtp_wsgi.protocol.signature import key_record
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.sender import sealing_keys

DOMAINS = [f"d{number}.example" for number in range(10)]
PEOPLE = [f"user{number}@{domain}" for domain in DOMAINS for number in range(10)]
WITHOUT_KEY = {PEOPLE[place] for place in (3, 27, 28, 64, 99)}


@dataclass
class Many:
    """alice, and a hundred others on ten agents."""

    world: World
    others: dict[str, XHMTP]
    keys: dict[str, Identity]

    def message(self) -> bytes:
        to = ",\r\n ".join(PEOPLE)
        return f"From: alice@a.example\r\nTo: {to}\r\nSubject: all\r\n\r\nthe viaduct\r\n".encode()

    def notice(self, address: str) -> Notice:
        return notices(self.others[address.partition("@")[2]].agent, address)[0]

    def octets(self, address: str) -> bytes:
        url = MessageURL.parse(self.notice(address).url)
        answer = call(self.world.a, url.path, authorization=basic(str(url.recipient), url.code))
        assert answer.status_int == 200
        return bytes(answer.body)


@pytest.fixture
def many(sqlite_world: World, tmp_path: Path) -> Iterator[Many]:
    """Ten agents more; each domain signs, and everybody but five publishes a key."""
    world, others, keys = sqlite_world, {}, {}
    records = [ZONE]
    for place, domain in enumerate(DOMAINS):
        records += [
            f"_xhmtp._tcp.{domain}. 60 SRV 0 0 80 server.{domain}.",
            f'_prefix._xhmtp.{domain}. 60 TXT "x"',
            f"server.{domain}. 60 A 192.0.2.{100 + place}",
        ]
        file = tmp_path / f"{domain}.db"
        copy_sqlite(file)
        settings = Settings.load(
            {
                "database": f"sqlite:///{file}",
                "domain": {domain: {}},
                "key_directory": str(tmp_path / domain),
            }
        )
        agent = make_agent(
            settings,
            resolver=world.resolver,
            network=world.network,  # type: ignore[arg-type]
            clock=world.clock,
            monotonic=world.clock,
        )
        agent.accounts._passwords._hasher = PasswordHasher(1, 64, 1)
        key = agent.signing_keys.add(domain)
        records.append(f'{key.name}. 60 TXT "{key_record(key.public)}"')
        others[domain] = XHMTP(site, settings, agent=agent)
        world.network.hosts[f"server.{domain}"] = others[domain]
    world.resolver.set_zone("\n".join(records))
    for one in others.values():
        one.agent.prefixes.match("/")
        one.agent.prefixes._first_answer.wait(30.0)
    for address in PEOPLE:
        agent = others[address.partition("@")[2]].agent
        endpoint = Endpoint.parse(address)
        agent.accounts.add(endpoint, None)
        if address not in WITHOUT_KEY:
            keys[address] = Identity.generate()
            recipient = keys[address].recipient
            sealing_keys.add(agent.database, endpoint, recipient, 1.0, replace=False)
    yield Many(world, others, keys)
    for one in others.values():
        one.agent.database.close()


def test_always_names_the_five_and_sends_to_nobody(many: Many):
    before = many.world.rows()["message"]
    answer = many.world.inject(many.message(), "?seal=always")
    assert answer.status_int == 422
    assert set(answer.json["recipients"]) == WITHOUT_KEY
    assert many.world.rows()["message"] == before
    assert many.world.notify().notified == 0


def test_she_is_told_of_each_before_anything_is_sent(many: Many):
    answer = many.world.inject(many.message(), "?seal=known&dry-run=1")
    told = {one["address"]: one for one in answer.json["recipients"]}
    assert {address for address, one in told.items() if one["in-clear"]} == WITHOUT_KEY
    assert {address for address, one in told.items() if one["sealed"]} == set(many.keys)
    assert all(one["refused"] is None for one in told.values())
    answer = many.world.inject(many.message(), "?seal=always&dry-run=1")
    refused = {one["address"] for one in answer.json["recipients"] if one["refused"]}
    assert refused == WITHOUT_KEY
    assert many.world.rows()["message"] == 0


def test_known_seals_one_file_for_all_who_can_open_it(many: Many):
    answer = many.world.inject(many.message(), "?seal=known")
    assert answer.status_int == 201
    in_clear = {one["address"] for one in answer.json["recipients"] if one["sealed"] is None}
    assert in_clear == WITHOUT_KEY
    assert many.world.notify().notified == 100
    sealed = {address: many.octets(address) for address in many.keys}
    assert len(set(sealed.values())) == 1
    for address, octets in sealed.items():
        assert opened(octets, many.keys[address]).endswith(b"the viaduct\r\n")
    for address in WITHOUT_KEY:
        assert not is_sealed(many.octets(address))


def test_an_agent_that_is_not_there_stops_always_and_is_told(many: Many):
    many.world.network.hosts["server.d5.example"] = ConnectionFailed("it is not there")
    answer = many.world.inject(many.message(), "?seal=always")
    assert answer.status_int == 422
    away = {address for address in PEOPLE if address.endswith("@d5.example")}
    assert set(answer.json["recipients"]) == WITHOUT_KEY | away
