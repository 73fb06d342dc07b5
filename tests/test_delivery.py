"""Delivery in depth: failing destinations, moved inboxes, reports, what is set aside, tidying."""

import email
import email.policy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from sqlalchemy import func, select, update

from tests.test_notifier import HOST, answered, status
from tests.world import MESSAGE, ZONE, World, basic, call
from xhmtp_wsgi.errors import AddressRefused, ConnectionFailed
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.sender import letters, queue_listing
from xhmtp_wsgi.sender.notifier import Notifier
from xhmtp_wsgi.sender.queue_listing import Chosen
from xhmtp_wsgi.sender.tables import deliveries, messages, pieces

ALICE = Endpoint.parse("alice@a.example")
HOUR, DAY = 3600.0, 86400.0


def numbered(world: World, count: int, message: bytes = MESSAGE) -> list[str]:
    """So many messages to bob; their locations."""
    return [
        world.inject(message.replace(b"hello", b"%d" % number)).headers["Location"]
        for number in range(count)
    ]


def reports(world: World) -> list[email.message.EmailMessage]:
    """What alice finds in her inbox, oldest first, as her reader fetches it."""
    database = world.a.agent.database
    found = []
    for notice in reversed(inbox.page(database, ALICE, newest=10**6, limit=10**6)):
        user, _, rest = notice.url.removeprefix("http://").partition("@")
        name, _, code = user.partition(":")
        path = "/" + rest.partition("/")[2]
        fetched = call(world.a, path, authorization=basic(name.replace("%40", "@"), code))
        assert fetched.status_int == 200
        found.append(email.message_from_bytes(fetched.body, policy=email.policy.default))
    return found


def tries(world: World) -> int:
    """How often bob's agent was asked."""
    return [host for host, _ in world.network.posts].count(HOST)


def parts(report: email.message.EmailMessage) -> tuple[str, list[dict[str, str]]]:
    """The words for people, and the blocks of fields for programs."""
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    words, fields, header = report.iter_parts()
    assert header.get_content_type() == "text/rfc822-headers"
    blocks = [
        dict(block.items()) for block in cast(list[email.message.Message], fields.get_payload())
    ]
    return words.get_content(), blocks


# Destinations


def test_a_destination_that_failed_is_left_alone_until_its_time(world: World):
    numbered(world, 20)
    mended = world.network.hosts[HOST]
    world.network.hosts[HOST] = ConnectionFailed("server.b.example refuses the connection")
    assert world.notify().deferred == 20, "each learns why"
    assert tries(world) == 1, "and one asked for all"
    world.inject(MESSAGE.replace(b"hello", b"a new one"))
    world.clock.now += 30
    world.notify()
    assert tries(world) == 1, "a new message does not change that"
    world.clock.now += 60
    world.network.hosts[HOST] = mended
    assert world.notify().notified == 21
    assert tries(world) == 1 + 2, "one alone, and then all others together"


def test_the_waits_of_a_destination_grow(world: World):
    numbered(world, 5)
    world.network.hosts[HOST] = ConnectionFailed("down")
    for _ in range(2 * 24 * 6):
        world.notify()
        world.clock.now += 600
    # 60 s doubled to 4 h, a pass each ten minutes: six tries in the first 3 h, then one each 4 h.
    assert 14 <= tries(world) <= 20


def test_several_notifiers_make_one_try_of_a_failing_destination(world: World):
    numbered(world, 8)
    world.network.hosts[HOST] = ConnectionFailed("down")
    world.notify()
    world.clock.now += 90
    agent = world.a.agent
    first, second = Notifier(agent), Notifier(agent)

    def while_it_is_tried(environ: Any, start_response: Any) -> Any:
        assert second.run_pass().tried == 0
        return world.b(environ, start_response)

    world.network.hosts[HOST] = while_it_is_tried
    second_before = tries(world)
    assert first.run_pass().notified == 8
    assert tries(world) == second_before + 2, "one alone, and then all others together"


def test_retry_after_holds_for_the_whole_destination(world: World):
    numbered(world, 3)
    world.network.hosts[HOST] = answered(503, **{"retry-after": "7200"})
    world.notify()
    assert tries(world) == 1
    world.clock.now += 7100
    world.notify()
    assert tries(world) == 1
    world.clock.now += 200
    world.notify()
    assert tries(world) == 2


def test_one_temporary_failure_after_another_closes_a_destination(world: World):
    numbered(world, 40)
    world.network.hosts[HOST] = answered(500)
    assert world.notify().deferred == 40
    assert tries(world) < 12


def test_one_entry_that_fails_holds_up_no_other(world: World):
    locations = numbered(world, 10)

    def picky(environ: Any, start_response: Any) -> Any:
        body = environ["wsgi.input"].read()
        environ["wsgi.input"].seek(0)
        if locations[3].rpartition("/")[2].encode() in body:
            start_response("500 No", [])
            return [b""]
        return world.b(environ, start_response)

    world.network.hosts[HOST] = picky
    report = world.notify()
    assert (report.notified, report.deferred) == (9, 1)


@pytest.mark.parametrize("first_is_refused", [False, True])
def test_the_next_target_is_tried_at_once(world: World, first_is_refused: bool):
    world.resolver.set_zone(
        ZONE.replace("_xhmtp._tcp.b.example. 60 SRV 0 0 80 server.b.example.", "")
        + "_xhmtp._tcp.b.example. 60 SRV 1 0 80 first.b.example.\n"
        + "_xhmtp._tcp.b.example. 60 SRV 2 0 80 server.b.example.\n"
    )
    world.network.hosts["first.b.example"] = ConnectionFailed("down")
    world.inject()
    assert world.notify().notified == 1
    assert [host for host, _ in world.network.posts] == ["first.b.example", HOST]


@pytest.mark.parametrize("first_may_pass", [False, True])
def test_while_one_target_may_answer_later_nobody_is_refused(world: World, first_may_pass: bool):
    world.resolver.set_zone(
        ZONE.replace("_xhmtp._tcp.b.example. 60 SRV 0 0 80 server.b.example.", "")
        + "_xhmtp._tcp.b.example. 60 SRV 1 0 80 first.b.example.\n"
        + "_xhmtp._tcp.b.example. 60 SRV 2 0 80 server.b.example.\n"
    )
    hosts = ("first.b.example", HOST) if first_may_pass else (HOST, "first.b.example")
    for host, error in zip(
        hosts, (ConnectionFailed("down"), AddressRefused("not public")), strict=True
    ):
        world.network.hosts[host] = error
    world.inject()
    report = world.notify()
    assert (report.deferred, report.refused) == (1, 0)


@pytest.mark.parametrize("code", [502, 503, 504])
def test_the_next_target_is_tried_where_the_first_is_not_available(world: World, code: int):
    world.resolver.set_zone(
        ZONE.replace("_xhmtp._tcp.b.example. 60 SRV 0 0 80 server.b.example.", "")
        + "_xhmtp._tcp.b.example. 60 SRV 1 0 80 first.b.example.\n"
        + "_xhmtp._tcp.b.example. 60 SRV 2 0 80 server.b.example.\n"
    )
    world.network.hosts["first.b.example"] = answered(code)
    numbered(world, 3)
    assert world.notify().notified == 3
    mended, world.network.hosts[HOST] = world.network.hosts[HOST], answered(503)
    numbered(world, 1)
    assert world.notify().deferred == 1, "where none is, it waits"
    world.network.hosts[HOST] = mended
    world.clock.now += 90
    assert world.notify().notified == 1


def test_all_targets_together_have_the_time_of_one_try(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    records = [f"_xhmtp._tcp.b.example. 60 SRV {n} 0 80 t{n}.b.example." for n in range(4)]
    srv = "_xhmtp._tcp.b.example. 60 SRV 0 0 80 server.b.example."
    world.resolver.set_zone(ZONE.replace(srv, "\n".join(records)))
    given: list[float] = []

    def post(*_: Any, within: float, **__: Any) -> HTTPAnswer:
        given.append(within)
        world.clock.now += 12
        raise ConnectionFailed("too slow")

    monkeypatch.setattr(world.network, "post", post)
    world.inject()
    world.notify()
    assert given == [30, 18, 6], "what is left, and then no more"


# Moved inboxes


def moved(location: str) -> HTTPAnswer:
    return HTTPAnswer(308, {"location": location}, b"")


def test_a_moved_inbox_is_followed_and_alice_is_told(world: World):
    world.b.agent.accounts.add(Endpoint.parse("robert@b.example"), "builder")
    location = world.inject().headers["Location"]
    world.network.hosts[HOST] = moved("http://new.example:8080/in/box/robert%40b.example")
    world.network.hosts["new.example"] = world.b
    assert world.notify().notified == 2, "bob's, and the report"
    told = status(world, location)
    assert (told["state"], told["moved-to"]) == ("notified", "robert@b.example")
    # His code opens the message under his new name, as the URL in his feed has it.
    feed = world.feed("/in/box/robert@b.example",
                      authorization=basic("robert@b.example", "builder"))  # fmt: skip
    assert "http://robert%40b.example:" in feed.text
    code = feed.text.partition("http://robert%40b.example:")[2].partition("@")[0]
    named = basic("robert@b.example", code)
    assert call(world.a, location, authorization=named).status_int == 200
    words, blocks = parts(reports(world)[0])
    assert "write to robert@b.example from now on" in words
    assert blocks[1]["Action"] == "relayed"


@pytest.mark.parametrize(
    "location",
    ["", "http://new.example/in/box/", "ftp://new.example/x/bob@b.example", "x" * 3000,
     "http://u:p@new.example/x/bob@b.example", "http://new.example/x/bob@b.example?x",
     "http://10.0.0.1/x/bob@b.example", "http://new.example:99999/x/bob@b.example",
     "http://[::1]/x/bob@b.example", "http://new.example/x%zz/bob@b.example\r\nX: y"],
)  # fmt: skip
def test_a_move_to_what_is_no_inbox_is_not_followed(world: World, location: str):
    injected = world.inject().headers["Location"]
    world.network.hosts[HOST] = moved(location)
    world.notify()
    told = status(world, injected)
    assert told["state"] == "deferred"
    assert "set up wrongly" in str(told["last-answer"])
    assert [host for host, _ in world.network.posts] == [HOST]


def test_a_loop_of_moves_ends(world: World):
    injected = world.inject().headers["Location"]
    world.network.hosts[HOST] = moved("/in/box/bob%40b.example")
    world.notify()
    assert tries(world) == 4
    assert "moved more than 3 times" in str(status(world, injected)["last-answer"])


def test_an_inbox_is_not_told_in_clear_after_tls(world: World):
    world.resolver.set_zone(ZONE.replace("_xhmtp._tcp.b", "_xhmtps._tcp.b"))
    injected = world.inject().headers["Location"]
    world.network.hosts[HOST] = moved("http://server.b.example/in/box/bob@b.example")
    world.notify()
    assert "in clear" in str(status(world, injected)["last-answer"])


def test_a_401_is_tried_for_a_day_from_the_first(world: World):
    injected = world.inject().headers["Location"]
    world.network.hosts[HOST] = ConnectionFailed("down")
    world.notify()
    world.clock.now += 2 * DAY
    world.network.hosts[HOST] = answered(401)
    world.notify()
    assert status(world, injected)["state"] == "deferred", "the day begins now"
    for _ in range(6):
        world.clock.now += 4.5 * HOUR
        world.notify()
    assert status(world, injected)["state"] == "refused"


# Reports


def test_a_refusal_is_reported_once_and_names_all(world: World):
    message = MESSAGE.replace(
        b"To: bob@b.example", b"To: " + b",\r\n ".join(b"u%d@b.example" % n for n in range(500))
    )
    world.inject(message)
    assert world.notify().refused == 500
    world.notify()
    found = reports(world)
    assert len(found) == 1
    report = found[0]
    assert report["From"].addresses[0].addr_spec == "postmaster@a.example"
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["Subject"] == "Not delivered: hello"
    words, blocks = parts(report)
    assert "u0@b.example" in words
    assert "and 480 more" in words
    assert len(blocks) == 501
    assert {block["Status"] for block in blocks[1:]} == {"5.1.1"}
    assert {block["Action"] for block in blocks[1:]} == {"failed"}


def test_a_delay_is_reported_after_four_hours_once(world: World):
    world.inject()
    world.network.hosts[HOST] = ConnectionFailed("server.b.example refuses the connection")
    seen = []
    for _ in range(30):
        world.notify()
        seen.append(len(reports(world)))
        world.clock.now += HOUR
    assert seen[0] == seen[3] == 0
    assert max(seen) == 1
    words, blocks = parts(reports(world)[0])
    assert "still being tried" in words
    assert "refuses the connection" in words
    assert (blocks[1]["Action"], blocks[1]["Status"]) == ("delayed", "4.4.1")
    assert "Will-Retry-Until" in blocks[1]


def test_an_expiry_is_reported(world: World):
    location = world.inject().headers["Location"]
    world.network.hosts[HOST] = ConnectionFailed("down")
    for _ in range(40):
        world.notify()
        world.clock.now += 4.5 * HOUR
    assert status(world, location)["state"] == "expired"
    assert [str(report["Subject"]) for report in reports(world)] == [
        "Delayed: hello",
        "Not delivered: hello",
    ]
    assert parts(reports(world)[1])[1][1]["Status"] == "5.4.7"


def test_nobody_is_told_what_became_of_a_report(world: World):
    world.inject(MESSAGE.replace(b"bob@b", b"nobody@b"))
    world.a.agent.accounts.remove(ALICE)
    assert world.notify().refused == 2, "the message, and the report of that"
    for _ in range(5):
        world.clock.now += DAY
        assert world.notify().tried == 0
    with world.a.agent.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(messages)).scalar_one() == 2


def test_what_was_withdrawn_is_not_reported(world: World):
    location = world.inject().headers["Location"]
    world.network.hosts[HOST] = ConnectionFailed("down")
    world.notify()
    call(world.a, location, method="DELETE", authorization=basic("alice@a.example", "wonderland"))
    for _ in range(40):
        world.clock.now += 4.5 * HOUR
        world.notify()
    assert reports(world) == []


# What is set aside


def test_after_five_internal_errors_an_entry_is_set_aside(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    locations = numbered(world, 3)
    poisoned = locations[0].rpartition("/")[2]
    real = letters.letter_of

    def letter_of(message: Any, content: Any) -> Any:
        if message.id == poisoned:
            raise RuntimeError("poison")
        return real(message, content)

    monkeypatch.setattr(letters, "letter_of", letter_of)
    told: list[str] = []
    for _ in range(8):
        told += world.notify().to_mend
        world.clock.now += 2 * HOUR
    assert len(told) == 1, "the operator is told once"
    assert poisoned in told[0]
    waiting = queue_listing.waiting(world.a.agent.database, 10)
    assert [(entry.message, entry.set_aside, entry.tries) for entry in waiting] == [
        (poisoned, True, 5)
    ]
    with world.a.agent.database.reading() as connection:
        kept = connection.execute(
            select(deliveries.c.traceback, deliveries.c.code).where(
                deliveries.c.message == poisoned
            )
        ).one()
    assert "RuntimeError: poison" in kept.traceback
    assert kept.code not in kept.traceback
    # The operator mends it, and has it tried again.
    monkeypatch.setattr(letters, "letter_of", real)
    assert queue_listing.retry(world.a.agent.database, Chosen(poisoned), world.clock()) == 1
    assert world.notify().notified == 1


def test_what_is_set_aside_and_never_mended_expires(world: World, monkeypatch: pytest.MonkeyPatch):
    location = world.inject().headers["Location"]
    real = letters.letter_of

    def letter_of(message: Any, content: Any) -> Any:
        if message.id in location:
            raise RuntimeError("poison")
        return real(message, content)

    monkeypatch.setattr(letters, "letter_of", letter_of)
    for _ in range(40):
        world.notify()
        world.clock.now += 4 * HOUR
    assert status(world, location)["state"] == "expired"
    assert "Not delivered: hello" in [report["Subject"] for report in reports(world)]


# The operator's hand


def test_what_is_cancelled_is_given_up_and_reported(world: World):
    location = world.inject().headers["Location"]
    world.network.hosts[HOST] = ConnectionFailed("down")
    world.notify()
    database = world.a.agent.database
    assert queue_listing.cancel(database, Chosen("nobody@b.example")) == 0
    assert queue_listing.cancel(database, Chosen("b.example")) == 1
    world.notify()
    assert status(world, location)["state"] == "expired"
    assert "cancelled" in parts(reports(world)[0])[0]


def test_an_operator_may_have_a_failing_destination_tried_now(world: World):
    numbered(world, 3)
    mended = world.network.hosts[HOST]
    world.network.hosts[HOST] = ConnectionFailed("down")
    world.notify()
    world.network.hosts[HOST] = mended
    assert world.notify().tried == 0
    assert queue_listing.retry(world.a.agent.database, Chosen(), world.clock()) == 3
    assert world.notify().notified == 3


# Clocks


@pytest.mark.parametrize("jump", [HOUR, -HOUR, DAY, -DAY, 365 * DAY, -365 * DAY])
def test_a_jump_of_the_clock_loses_and_storms_nothing(world: World, jump: float):
    locations = numbered(world, 4)
    mended = world.network.hosts[HOST]
    world.network.hosts[HOST] = ConnectionFailed("down")
    world.notify()
    world.clock.now += jump
    for _ in range(10):
        world.notify()
    assert tries(world) <= 2, "one try at the most for the jump"
    assert {status(world, location)["state"] for location in locations} == {"deferred"}
    world.network.hosts[HOST] = mended
    # Set back, the clock must first come to the time that was written before.
    for _ in range(12 if jump != -DAY else 36):
        world.clock.now += HOUR
        world.notify()
    assert {status(world, location)["state"] for location in locations} == {"notified"}


def test_a_lease_of_a_clock_that_was_ahead_is_over(world: World):
    world.inject()
    database = world.a.agent.database
    with database.transaction() as connection:
        connection.execute(
            update(deliveries).values(
                lease_owner="gone", lease_until=world.clock() + 365 * DAY,
                next_try_at=world.clock() + 365 * DAY,
            )
        )  # fmt: skip
    assert world.notify().notified == 1


# Tidying


def octets_kept(world: World) -> int:
    with world.a.agent.database.reading() as connection:
        return connection.execute(select(func.count()).select_from(pieces)).scalar_one()


def passing(world: World, seconds: float) -> None:
    """Time passes, with a pass each half hour, as cron would have it."""
    for _ in range(int(seconds / 1800)):
        world.clock.now += 1800
        world.notify()


def test_an_expired_message_goes_and_what_became_of_it_is_kept(world: World):
    message = MESSAGE.replace(b"hello", b"x\r\nExpires: Sat, 16 Jan 2027 08:00:00 +0000")
    location = world.inject(message + b"x" * (70 * 256 << 10)).headers["Location"]
    world.notify()
    passing(world, 23 * HOUR)
    assert octets_kept(world) == 71
    passing(world, 2 * HOUR)
    assert octets_kept(world) == 0
    mine = basic("alice@a.example", "wonderland")
    assert call(world.a, location, authorization=mine).status_int == 410
    assert status(world, location)["state"] == "notified"
    world.clock.now += world.a.agent.settings.remember_for
    passing(world, DAY + HOUR)
    assert call(world.a, location, authorization=mine).status_int == 401, "forgotten"


def test_who_was_not_told_when_a_message_expires_is_reported(world: World):
    message = MESSAGE.replace(b"hello", b"x\r\nExpires: Fri, 15 Jan 2027 10:00:00 +0000")
    location = world.inject(message).headers["Location"]
    world.network.hosts[HOST] = ConnectionFailed("down")
    passing(world, 4 * HOUR)
    assert status(world, location)["state"] == "expired"
    assert [report["Subject"] for report in reports(world)] == ["Not delivered: x"]


def test_a_message_that_nobody_was_tried_for_is_tried_before_it_expires(world: World):
    message = MESSAGE.replace(b"hello", b"x\r\nExpires: Fri, 15 Jan 2027 10:00:00 +0000")
    world.notify()
    location = world.inject(message).headers["Location"]
    world.clock.now += 1.5 * DAY
    assert queue_listing.state(world.a.agent.database).entries == 1
    world.network.hosts[HOST] = answered(200)
    with without_tries(world):
        world.notify()
    assert status(world, location)["state"] == "queued", "no pass could try it: it stays"
    assert octets_kept(world) == 1
    assert world.notify().notified == 1


@contextmanager
def without_tries(world: World) -> Iterator[None]:
    """A pass in which nothing is tried, as when its time was over before."""
    limit = world.a.agent.settings.concurrency
    object.__setattr__(world.a.agent.settings, "concurrency", 0)
    yield
    object.__setattr__(world.a.agent.settings, "concurrency", limit)


def test_a_jump_of_the_clock_does_not_empty_the_outbox(world: World):
    world.inject()
    world.notify()
    world.clock.now += 365 * DAY
    assert "365.0 days ago" in world.notify().to_mend[0]
    passing(world, 20 * HOUR)
    assert octets_kept(world) == 1
    world.clock.now -= 365 * DAY
    assert world.notify().to_mend == ()
    assert octets_kept(world) == 1


# Monitoring


def metrics_of(world: World, address: str = "192.0.2.7") -> dict[str, float]:
    answer = call(world.a, "/xhmtp/metrics", address=address)
    assert answer.status_int == 200
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.fixture
def watched(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    import ipaddress

    object.__setattr__(world.a.agent.settings, "metrics", (ipaddress.ip_network("192.0.2.7/32"),))
    return world


def test_metrics_are_not_there_for_others(watched: World):
    for address in ("192.0.2.99", "127.0.0.1", "not an address"):
        assert call(watched.a, "/xhmtp/metrics", address=address).status_int == 404
    assert call(watched.b, "/in/box/metrics", address="192.0.2.7").status_int == 404


def test_metrics_count_what_happens(watched: World):
    numbered(watched, 3)
    watched.inject(MESSAGE.replace(b"bob@b", b"nobody@b"))
    watched.clock.now += 100
    before = metrics_of(watched)
    assert before["xhmtp_queue_entries"] == 4
    assert before["xhmtp_queue_oldest_seconds"] == 100
    watched.notify()
    found = metrics_of(watched)
    assert found["xhmtp_queue_entries"] == 0
    assert found["xhmtp_tries_total"] == 5, "the report too"
    assert found['xhmtp_tries_answered_total{class="2xx"}'] == 4
    assert found['xhmtp_tries_answered_total{class="4xx"}'] == 1
    assert found['xhmtp_recipients_total{state="notified"}'] == 4
    assert found['xhmtp_recipients_total{state="refused"}'] == 1
    assert found["xhmtp_try_seconds_count"] == 5
    assert found['xhmtp_try_seconds_bucket{le="+Inf"}'] == 5
    assert found["xhmtp_last_pass_timestamp_seconds"] == watched.clock.now
    assert found['xhmtp_notifications_total{result="taken"}'] >= 1
    assert json.dumps(found).count("example") == 0, "no address, no domain"


def test_counters_are_kept_while_the_database_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    from xhmtp_wsgi import counters
    from xhmtp_wsgi.errors import DatabaseUnavailable

    counting = world.a.agent.counters
    counting.count("notifications:taken")

    def gone() -> Callable[[], None]:
        raise DatabaseUnavailable("gone")

    with monkeypatch.context() as patched:
        patched.setattr(world.a.agent.database, "transaction", gone)
        counting.write()
    assert "counters are not written" in caplog.text
    counting.write()
    assert counters.read(world.a.agent.database)["notifications:taken"] == 1
