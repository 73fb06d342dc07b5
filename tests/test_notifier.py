"""The notifier: each answer means what the protocol says, and no entry is worked on twice."""

import random
import threading
from datetime import datetime

import pytest
from sqlalchemy import select

from tests.world import BOB, MESSAGE, ZONE, World, basic, call
from xhmtp_wsgi.errors import ConnectionFailed, DeadlineExceeded, TLSFailed, XHMTPError
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.sender import letters, queue, queue_listing
from xhmtp_wsgi.sender.notifier import Notifier
from xhmtp_wsgi.sender.retry import RetrySchedule, Verdict, retry_after, verdict
from xhmtp_wsgi.sender.tables import deliveries

HOST = "server.b.example"


def status(world: World, location: str) -> dict[str, object]:
    answer = call(
        world.a, f"{location}/status", authorization=basic("alice@a.example", "wonderland")
    )
    found: dict[str, object] = answer.json["recipients"][0]
    return found


def answered(code: int, **headers: str) -> HTTPAnswer:
    return HTTPAnswer(code, headers, b'{"detail": "no <b>such</b>\x1b[31m\r\nthing"}')


CODES = {
    **dict.fromkeys([200, 201, 202, 204], Verdict.DONE),
    **dict.fromkeys(
        [400, 403, 404, 405, 406, 409, 410, 413, 414, 415, 421, 422, 431, 451, 501, 505],
        Verdict.REFUSED,
    ),
    **dict.fromkeys(
        [301, 302, 303, 307, 401, 408, 425, 429, 500, 502, 503, 504, 507, 599], Verdict.LATER
    ),
}


@pytest.mark.parametrize("code", CODES)
def test_each_code_means_what_the_protocol_says(code: int):
    assert verdict(code) is CODES[code]


def test_a_401_is_tried_again_for_a_day():
    assert verdict(401, unverified_for=86399) is Verdict.LATER
    assert verdict(401, unverified_for=86400) is Verdict.REFUSED


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("1", 60.0),
        ("999999", 86400.0),
        ("Thu, 01 Jan 1970 00:10:00 GMT", 600.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 60.0),
        ("soon", None),
        ("-5", None),
        ("9" * 50, None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_honoured_within_bounds(value: str | None, seconds: float | None):
    assert retry_after(value, now=0.0) == seconds


def test_waits_double_up_to_the_longest_and_are_spread():
    schedule = RetrySchedule(60, 4 * 3600, 5 * 86400, random.Random(1))
    for tries in range(1, 60):
        expected = min(60 * 2 ** (tries - 1), 4 * 3600)
        waits = [schedule.wait(tries) for _ in range(50)]
        assert all(0.9 * expected <= wait <= 1.1 * expected for wait in waits)
        assert len(set(waits)) > 40


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionFailed("server.b.example cannot be connected to"),
        DeadlineExceeded("server.b.example did not answer in time"),
        TLSFailed("TLS with server.b.example failed: its certificate has expired"),
    ],
)
def test_no_answer_is_tried_again_and_named(world: World, failure: XHMTPError):
    location = world.inject().headers["Location"]
    mended = world.network.hosts[HOST]
    world.network.hosts[HOST] = failure
    assert world.notify().deferred == 1
    told = status(world, location)
    assert (told["state"], told["tries"], told["last-answer"]) == ("deferred", 1, str(failure))
    assert world.notify().deferred == 0, "not before its time"
    world.clock.now += 70
    world.network.hosts[HOST] = mended
    assert world.notify().notified == 1


def test_a_refusal_is_final_and_its_words_are_made_harmless(world: World):
    location = world.inject().headers["Location"]
    world.network.hosts[HOST] = answered(404)
    assert world.notify().refused == 1
    told = status(world, location)
    assert (told["state"], told["last-status"]) == ("refused", 404)
    words = str(told["last-answer"])
    assert words.isprintable()
    assert words.startswith("server.b.example answered 404: ")
    world.clock.now += 10**6
    assert world.notify().refused == 0


def test_retry_after_sets_the_next_try(world: World):
    location = world.inject().headers["Location"]
    world.network.hosts[HOST] = answered(503, **{"retry-after": "7200"})
    world.notify()
    next_try = datetime.fromisoformat(str(status(world, location)["next-try"])).timestamp()
    assert 0 <= next_try - (world.clock.now + 7200) <= 1


def test_after_five_days_a_message_is_expired(world: World):
    location = world.inject().headers["Location"]
    world.network.hosts[HOST] = answered(500)
    for _ in range(60):
        world.notify()
        world.clock.now += 4.5 * 3600
    assert status(world, location)["state"] == "expired"


def test_a_jump_of_the_clock_expires_nothing_that_was_not_tried(world: World):
    location = world.inject().headers["Location"]
    world.clock.now += 20 * 86400
    assert world.notify().notified == 1
    assert status(world, location)["state"] == "notified"


@pytest.mark.parametrize(
    ("zone_fault", "state"),
    [
        ("_xhmtp._tcp.b.example. 60 SRV 0 0 80 server.b.example.\n", "refused"),
        ("server.b.example. 60 A 192.0.2.2\n", "notified"),
    ],
)
def test_a_domain_without_a_record_is_refused(world: World, zone_fault: str, state: str):
    location = world.inject().headers["Location"]
    world.resolver.set_zone(ZONE.replace(zone_fault, ""))
    world.notify()
    assert status(world, location)["state"] == state


@pytest.mark.parametrize(
    "name", ["_xhmtps._tcp.b.example", "_xhmtp._tcp.b.example", "_prefix._xhmtp.b.example"]
)
def test_while_the_dns_is_down_it_is_tried_again(world: World, name: str):
    location = world.inject().headers["Location"]
    world.resolver.failing.add(name)
    world.notify()
    assert status(world, location)["state"] == "deferred"


def test_our_own_records_in_error_are_no_fault_of_the_recipients(world: World):
    location = world.inject().headers["Location"]
    world.resolver.set_zone(ZONE.replace('"xhmtp"', '"../x"'))
    world.clock.now += 10**5
    world.notify()
    assert status(world, location)["state"] == "deferred"


def test_an_unreachable_destination_is_not_tried_for_each_of_its_entries(world: World):
    for number in range(30):
        world.inject(MESSAGE.replace(b"hello", b"%d" % number))
    world.network.hosts[HOST] = ConnectionFailed("not there")
    world.notify()
    limit = world.a.agent.settings.concurrency_per_destination
    assert len(world.network.posts) <= 2 * limit
    waiting = queue_listing.waiting(world.a.agent.database, 100)
    assert len(waiting) == 30, "nothing is lost"


def test_several_notifiers_at_once_tell_everybody_once(world: World):
    for number in range(60):
        world.inject(MESSAGE.replace(b"hello", b"%d" % number))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            world.notify()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert inbox.state(world.b.agent.database, BOB).last_position == 60


def test_what_was_there_when_a_pass_began_is_no_news(world: World):
    notifier = Notifier(world.a.agent)
    assert not notifier.has_news()
    world.inject()
    assert notifier.has_news()
    notifier.run_pass()
    assert not notifier.has_news()
    world.inject(MESSAGE.replace(b"hello", b"again"))
    assert notifier.has_news()


def test_an_entry_whose_notifier_died_is_taken_up_when_its_lease_ends(world: World):
    world.inject()
    settings = world.a.agent.settings
    terms = queue.Terms("one that dies", settings.lease, RetrySchedule(60, 60, 86400), 3600)
    now = world.clock()
    taken = queue.claim(
        world.a.agent.database, {"b.example": 10}, now=now, due_by=now, terms=terms
    )["b.example"]
    assert [claim.tries for claim in taken.claims] == [1], (
        "the try is written down before it is made"
    )
    world.clock.now += settings.lease - 1
    assert world.notify().notified == 0
    world.clock.now += 2
    assert world.notify().notified == 1


def test_a_message_withdrawn_while_it_is_told_stays_withdrawn(world: World):
    location = world.inject().headers["Location"]
    b = world.network.hosts[HOST]

    def withdrawing(environ, start_response):
        call(world.a, location, method="DELETE",
             authorization=basic("alice@a.example", "wonderland"))  # fmt: skip
        return b(environ, start_response)

    world.network.hosts[HOST] = withdrawing
    world.notify()
    assert status(world, location)["state"] == State.WITHDRAWN


def test_who_was_told_has_his_code_kept_no_longer(world: World):
    world.inject()
    world.network.hosts[HOST] = ConnectionFailed("down")
    world.notify()

    def codes() -> list[str | None]:
        with world.a.agent.database.reading() as connection:
            return list(connection.execute(select(deliveries.c.code)).scalars())

    assert codes() != [None], "he is still to be told"
    world.network.hosts[HOST] = world.b
    world.clock.now += 2 * 3600
    assert world.notify().notified == 1
    assert codes() == [None]


def test_a_fault_of_ours_stops_nobody_else(world: World, monkeypatch: pytest.MonkeyPatch):
    first = world.inject(MESSAGE.replace(b"hello", b"one")).headers["Location"]
    world.inject(MESSAGE.replace(b"hello", b"two"))
    real = letters.letter_of

    def letter_of(message, content):
        if message.id in first:
            raise RuntimeError("poison")
        return real(message, content)

    monkeypatch.setattr(letters, "letter_of", letter_of)
    report = world.notify()
    assert (report.notified, report.deferred) == (1, 1)


def test_a_stop_gives_back_what_was_not_begun(world: World):
    for number in range(20):
        world.inject(MESSAGE.replace(b"hello", b"%d" % number))
    asked = iter([False])
    Notifier(world.a.agent, lambda: next(asked, True)).run_pass()
    left = queue_listing.waiting(world.a.agent.database, 100)
    assert 0 < len(left) < 20
    assert world.notify().notified == len(left), "due at once, and by no lease held up"
