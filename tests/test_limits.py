"""Limits: rates that hold over processes, sizes, and guesses at passwords."""

import re
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.test_filters import TYPE, rule, told
from tests.test_signature import form, post
from tests.world import BOB, MESSAGE, ZONE, World, basic, call
from xhmtp_wsgi.agent import make_agent
from xhmtp_wsgi.errors import TooMany
from xhmtp_wsgi.rate_limits import FORGOTTEN_AFTER, Rate, RateLimits, buckets
from xhmtp_wsgi.recipient import inbox

ROOT = Path(__file__).parents[1]


def settle(world: World, **settings: object) -> None:
    for agent in (world.a.agent, world.b.agent):
        for name, value in settings.items():
            object.__setattr__(agent.settings, name, value)


def numbered(number: int, host: str = "server.a.example") -> bytes:
    letters = f"{number:05}".translate(str.maketrans("0123456789", "abcdefghij"))
    return form(host=host).replace(b"abcdefghijklmnopqrstuvwxyz", letters.encode() + b"a" * 21)


def test_a_bucket_holds_over_processes(world: World):
    rate = Rate(1.0, 100)
    agent = world.b.agent
    # Each has a memory of its own, as workers and hosts have.
    workers = [RateLimits(agent.database, world.clock, world.clock) for _ in range(4)]
    taken = 0
    for turn in range(400):
        try:
            workers[turn % 4].take("name", rate, "things")
        except TooMany as error:
            assert error.retry_after is not None
            assert error.retry_after >= 1
        else:
            taken += 1
    assert taken == 100
    world.clock.now += 20
    again = 0
    for turn in range(100):
        try:
            workers[turn % 4].take("name", rate, "things")
        except TooMany:
            continue
        again += 1
    assert 19 <= again <= 21


def test_buckets_of_long_ago_are_swept_out(world: World):
    limits = RateLimits(world.b.agent.database, world.clock, world.clock)
    rate = Rate(1.0, 100)
    for name in ("one", "two"):
        limits.take(name, rate, "things")
    world.clock.now += FORGOTTEN_AFTER + 1
    limits.take("three", rate, "things")
    with world.b.agent.database.reading() as connection:
        assert set(connection.execute(select(buckets.c.name)).scalars()) == {"three"}


def test_a_bucket_holds_over_threads(world: World):
    limits = RateLimits(world.b.agent.database, world.clock, world.clock)
    taken: list[int] = []

    def work() -> None:
        for _ in range(50):
            try:
                limits.take("name", Rate(1.0, 60), "things")
            except TooMany:
                continue
            taken.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 60


def test_too_many_from_one_address_get_429_and_others_none(world: World):
    settle(world, notifications_per_second=0.1, notification_burst=20)
    world.resolver.set_zone(ZONE + "other.example. 60 A 192.0.2.50\n")
    codes = [told(world, numbered(number)) for number in range(30)]
    assert codes.count(201) == 20
    refused = post(world, TYPE, numbered(31), "192.0.2.1")
    assert refused.status_int == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.content_type == "application/problem+json"
    assert post(world, TYPE, numbered(1, "other.example"), "192.0.2.50").status_int == 201


def test_addresses_of_one_ipv6_network_are_one(world: World):
    settle(world, notifications_per_second=0.1, notification_burst=5)
    codes = [
        post(world, TYPE, numbered(number), f"2001:db8::{number:x}").status_int
        for number in range(1, 9)
    ]
    assert codes.count(429) == 3


def test_a_domain_has_a_limit_of_its_own(sqlite_world: World):
    world = sqlite_world
    settle(world, notifications_per_second=0.1, notification_burst=10)
    zone = ZONE + "\n".join(f"server.a.example. 60 A 192.0.2.{number}" for number in range(2, 20))
    world.resolver.set_zone(zone)
    codes = [
        post(world, TYPE, numbered(number), f"192.0.2.{number}").status_int
        for number in range(1, 16)
    ]
    assert codes.count(201) == 10
    assert codes.count(429) == 5


def test_a_full_inbox_is_507_and_takes_again_when_there_is_room(world: World):
    settle(world, max_inbox=3)
    codes = [told(world, numbered(number)) for number in range(5)]
    assert codes == [201, 201, 201, 507, 507]
    assert inbox.state(world.b.agent.database, BOB).last_position == 3
    assert told(world, numbered(1)) == 200, "what it has is not refused for want of room"
    settle(world, max_inbox=4)
    assert told(world, numbered(9)) == 201
    found = inbox.page(world.b.agent.database, BOB, newest=9, limit=9)
    assert [notice.position for notice in found] == [4, 3, 2, 1], "no number was left out"


def test_what_is_dropped_makes_room(world: World):
    database = world.b.agent.database
    settle(world, max_inbox=2)
    rule(world, "bob@b.example", "quarantine", "*")
    assert [told(world, numbered(number)) for number in range(3)] == [201, 201, 507]
    inbox.drop(database, BOB, inbox.quarantined(database, BOB)[0].identifier, world.clock())
    assert [told(world, numbered(number)) for number in (4, 5)] == [201, 507]


def test_a_sender_has_so_much_storage_and_gets_it_back(world: World):
    settle(world, max_storage=10_000)
    big = MESSAGE + b"x" * 4000
    first = world.inject(big)
    assert first.status_int == 201
    assert world.inject(big.replace(b"hello", b"two")).status_int == 201
    refused = world.inject(big.replace(b"hello", b"three"))
    assert refused.status_int == 507
    assert "10000 octets" in refused.json["detail"]
    assert world.rows()["message"] == 2
    mine = basic("alice@a.example", "wonderland")
    call(world.a, first.headers["Location"], method="DELETE", authorization=mine)
    call(world.a, first.headers["Location"], method="DELETE", authorization=mine)
    assert world.inject(big.replace(b"hello", b"four")).status_int == 201
    assert world.inject(big.replace(b"hello", b"five")).status_int == 507, "given back once"


# Guessing


def guess(world: World, password: str, address: str, user: str = "alice@a.example") -> int:
    return int(
        call(world.a, "/xhmtp/alice/", authorization=basic(user, password), address=address)
        .status_int
    )  # fmt: skip


def test_an_address_that_guesses_is_refused_and_the_owner_is_not(world: World):
    codes = [guess(world, f"guess{number}", "192.0.2.66") for number in range(15)]
    assert codes == [401] * 10 + [429] * 5
    assert guess(world, "wonderland", "192.0.2.66") == 429, "not even with the right one"
    assert guess(world, "wonderland", "192.0.2.10") == 200
    world.clock.now += 900
    assert guess(world, "wonderland", "192.0.2.66") == 200


def test_an_address_that_tries_many_names_is_refused(world: World):
    codes = [guess(world, "guess", "192.0.2.66", f"user{number}@a.example") for number in range(60)]
    assert codes.count(401) == 50
    assert codes[-1] == 429


def test_many_addresses_that_guess_do_not_lock_the_owner_out(sqlite_world: World):
    world = sqlite_world
    accounts = world.a.agent.accounts
    accounts._passwords._hashes_to = lambda hashed, password: password == "wonderland"  # type: ignore[method-assign]
    for number in range(250):
        guess(world, "guess", f"198.51.100.{number}")
    assert guess(world, "guess", "198.51.100.1") == 429, "had its try"
    assert guess(world, "wonderland", "192.0.2.10") == 200


def test_guesses_are_logged_for_fail2ban_and_tell_no_password(
    world: World, caplog: pytest.LogCaptureFixture
):
    text = (ROOT / "contrib" / "fail2ban" / "filter.d" / "xhmtp.conf").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("failregex")]
    pattern = line.partition("=")[2].strip().replace("<HOST>", r"(?P<host>\S+)")
    guess(world, "s3cret-guess", "192.0.2.66")
    world.feed(authorization=basic("bob@b.example", "s3cret-guess"), address="2001:db8::66")
    found = [re.search(pattern, record.getMessage()) for record in caplog.records]
    assert [match["host"] for match in found if match] == ["192.0.2.66", "2001:db8::66"]
    assert "s3cret" not in caplog.text


def test_an_agent_made_anew_keeps_the_count(world: World):
    for number in range(10):
        guess(world, f"guess{number}", "192.0.2.66")
    agent = make_agent(
        world.a.agent.settings, resolver=world.resolver, clock=world.clock, monotonic=world.clock
    )
    with pytest.raises(TooMany):
        agent.rate_limits.check(
            "login:192.0.2.66:alice@a.example", Rate(10 / 900, 10), "failed log-ins"
        )
    agent.database.close()
