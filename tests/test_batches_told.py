"""Batches of the notifier: what can go together does, and no entry suffers from another."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.test_notifier import HOST, status
from tests.world import ALICE, BOB, MESSAGE, World
from xhmtp_wsgi.errors import ConnectionFailed, NotConnected
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import filters, inbox
from xhmtp_wsgi.recipient.filters import Action
from xhmtp_wsgi.sender.announcements import KEPT_FOR, Announcements
from xhmtp_wsgi.sender.notifier import Notifier

ALONE, TOGETHER = "/in/box/bob%40b.example", "/in/box/%40b.example"


def numbered(world: World, count: int, message: bytes = MESSAGE) -> list[str]:
    return [
        world.inject(message.replace(b"hello", b"%d" % number)).headers["Location"]
        for number in range(count)
    ]


def paths(world: World) -> list[str]:
    return [path for host, path in world.network.posts if host == HOST]


def arrived(world: World) -> list[int]:
    found = inbox.page(world.b.agent.database, BOB, newest=10**6, limit=10**6)
    return sorted(one.position for one in found)


def between(world: World, change: Callable[[bytes, bytes], bytes | int | None]) -> None:
    """Has all batches of bob's agent pass by: another answer's body, a status, or as it is."""

    def application(environ: Any, start_response: Any) -> Any:
        body = environ["wsgi.input"].read()
        environ["wsgi.input"].seek(0)
        given = list(world.b(environ, start_response))
        if environ["PATH_INFO"] != "/in/box/@b.example":
            return given
        changed = change(body, b"".join(given))
        if isinstance(changed, int):
            start_response(f"{changed} No", [])
            return [b""]
        return given if changed is None else [changed]

    world.network.hosts[HOST] = application


def test_the_first_goes_alone_and_the_rest_together(world: World):
    numbered(world, 30)
    assert world.notify().notified == 30
    assert paths(world) == [ALONE, TOGETHER]
    assert arrived(world) == list(range(1, 31))


def test_one_message_to_many_is_told_with_its_headers_once(world: World):
    others = [f"user{number}@b.example" for number in range(40)]
    for one in others:
        world.b.agent.accounts.add(Endpoint.parse(one), None)
    sent: list[bytes] = []
    between(world, lambda body, _: sent.append(body))
    to = ", ".join(others).encode()
    world.inject(MESSAGE.replace(b"bob@b.example", to))
    assert world.notify().notified == 40
    (body,) = sent
    assert (body.count(b"headers="), body.count(b"url=")) == (1, 39)
    for one in others:
        (notice,) = inbox.page(world.b.agent.database, Endpoint.parse(one), newest=9, limit=9)
        assert one.replace("@", "%40") in notice.url


def test_a_notifier_that_goes_on_sends_a_batch_at_once(world: World):
    notifier = Notifier(world.a.agent)
    numbered(world, 3)
    notifier.run_pass()
    numbered(world, 3)
    assert notifier.run_pass().notified == 3
    assert paths(world) == [ALONE, TOGETHER, TOGETHER]
    world.clock.now += KEPT_FOR
    numbered(world, 3)
    notifier.run_pass()
    assert paths(world)[3:] == [ALONE, TOGETHER], "what it heard holds for an hour"


def test_an_agent_that_announces_nothing_gets_no_batch(world: World):
    object.__setattr__(world.b.agent.settings, "max_batch", 1)
    numbered(world, 5)
    assert world.notify().notified == 5
    assert paths(world) == [ALONE] * 5


def test_no_more_go_together_than_are_taken(world: World):
    object.__setattr__(world.b.agent.settings, "max_batch", 4)
    numbered(world, 10)
    assert world.notify().notified == 10
    # The last may overtake one of the two batches.
    assert sorted(paths(world)) == sorted([ALONE, TOGETHER, TOGETHER, ALONE])
    object.__setattr__(world.b.agent.settings, "max_batch", 100)
    object.__setattr__(world.b.agent.settings, "max_batch_size", 2000)
    notifier = Notifier(world.a.agent)
    numbered(world, 10)
    assert notifier.run_pass().notified == 10
    assert arrived(world) == list(range(1, 21))
    before = len(paths(world))
    numbered(world, 3)
    assert notifier.run_pass().notified == 3
    assert TOGETHER in paths(world)[before:], "none was too large, or there would be no more"


def test_each_learns_what_became_of_his_own(world: World):
    for one in ("carol@b.example", "dave@b.example"):
        world.b.agent.accounts.add(Endpoint.parse(one), None)
    filters.add(world.b.agent.database, "dave@b.example", Action.REFUSE, "*")
    locations = numbered(world, 2)
    for name in (b"carol", b"dave", b"nobody"):
        locations.append(world.inject(MESSAGE.replace(b"bob@", name + b"@")).headers["Location"])
    report = world.notify()
    assert (report.notified, report.refused, report.reports) == (3 + 2, 2, 2)
    found = [status(world, location) for location in locations]
    assert [one["state"] for one in found] == [
        "notified", "notified", "notified", "refused", "refused",
    ]  # fmt: skip
    assert [one["last-status"] for one in found] == [201, 201, 201, 403, 404]
    assert "no such recipient" in str(found[4]["last-answer"])
    assert paths(world)[1:] == [TOGETHER]


def test_one_that_a_batch_fails_for_holds_up_no_other(world: World):
    locations = numbered(world, 10)
    poison = locations[5].rpartition("/")[2].encode()
    between(world, lambda body, _: 500 if poison in body else None)
    assert world.notify().notified == 10
    assert paths(world) == [ALONE, TOGETHER, *[ALONE] * 9]


def test_one_that_ends_the_connection_holds_up_the_others_once(world: World):
    locations = numbered(world, 10)
    poison = locations[5].rpartition("/")[2].encode()
    notifier = Notifier(world.a.agent)

    def application(environ: Any, start_response: Any) -> Any:
        body = environ["wsgi.input"].read()
        environ["wsgi.input"].seek(0)
        if poison in body:
            raise ConnectionFailed("the connection ended without an answer")
        return world.b(environ, start_response)

    world.network.hosts[HOST] = application
    assert notifier.run_pass().notified == 1
    told = 1
    # By chance the one that fails is tried first, and the others then wait for another pass.
    for _ in range(11):
        world.clock.now += 300
        told += notifier.run_pass().notified
    assert told == 9, "all others, in a few passes"
    assert paths(world).count(TOGETHER) == 1


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b'{"answers": []}', b'{"answers": [{"status": 201}]}', b"<html>", 400, 404, 405,
     413, 401, 403, 200, 204, 302, 500, 502],
)  # fmt: skip
def test_what_answers_a_batch_wrongly_is_told_one_by_one(world: World, answer: bytes | int):
    numbered(world, 6)
    between(world, lambda body, _: answer)
    notifier = Notifier(world.a.agent)
    assert notifier.run_pass().notified == 6
    assert paths(world) == [ALONE, TOGETHER, *[ALONE] * 5]
    numbered(world, 3)
    assert notifier.run_pass().notified == 3
    assert paths(world)[7:] == [ALONE] * 3, "and gets no batch for an hour"
    assert arrived(world) == list(range(1, 10))


@pytest.mark.parametrize("code", [408, 425, 429, 503])
def test_not_now_is_meant_for_each_of_a_batch(world: World, code: int):
    locations = numbered(world, 6)
    between(world, lambda body, _: code)
    report = world.notify()
    assert (report.notified, report.deferred) == (1, 5)
    assert paths(world) == [ALONE, TOGETHER]
    found = [status(world, location) for location in locations]
    assert [one["last-status"] for one in found].count(code) == 5


def test_those_whose_rate_is_over_wait_and_the_others_are_told(world: World):
    object.__setattr__(world.b.agent.settings, "notification_burst", 4)
    object.__setattr__(world.b.agent.settings, "notifications_per_second", 0.01)
    numbered(world, 10)
    report = world.notify()
    assert (report.notified, report.deferred) == (4, 6)
    assert paths(world) == [ALONE, TOGETHER], "more would be refused as well"
    assert arrived(world) == [1, 2, 3, 4]


def test_a_full_inbox_is_no_fault_of_its_domain(world: World):
    object.__setattr__(world.b.agent.settings, "max_inbox", 3)
    world.b.agent.accounts.add(Endpoint.parse("carol@b.example"), None)
    numbered(world, 6)
    world.inject(MESSAGE.replace(b"bob@", b"carol@"))
    report = world.notify()
    assert (report.notified, report.deferred) == (4, 3)
    world.clock.now += 1
    world.inject(MESSAGE.replace(b"bob@", b"carol@"))
    assert world.notify().notified == 1, "the domain is not left alone"


def test_an_inbox_that_has_moved_is_followed(world: World):
    moved = Endpoint.parse("moved@b.example")
    world.b.agent.addressing.add(moved, ALICE, world.clock())
    numbered(world, 3)
    location = world.inject(MESSAGE.replace(b"bob@", b"moved@")).headers["Location"]
    assert world.notify().notified >= 4
    assert status(world, location)["state"] == "notified"
    assert paths(world) == [ALONE, TOGETHER, "/in/box/moved%40b.example"]
    reports = inbox.page(world.a.agent.database, ALICE, newest=9, limit=9)
    assert len(reports) == 2, "the message, and that its recipient has moved"


def test_several_inboxes_that_have_moved_are_each_followed_alone(world: World):
    moved = [Endpoint.parse(f"moved{number}@b.example") for number in range(3)]
    for one in moved:
        world.b.agent.addressing.add(one, ALICE, world.clock())
    numbered(world, 2)
    to = ", ".join(map(str, moved)).encode()
    world.inject(MESSAGE.replace(b"bob@b.example", to))
    world.notify()
    assert paths(world).count(TOGETHER) == 1
    assert sorted(paths(world)[2:]) == [f"/in/box/moved{number}%40b.example" for number in range(3)]


def test_the_next_target_gets_the_batch_where_the_first_is_gone(world: World):
    from tests.world import ZONE

    world.resolver.set_zone(
        ZONE.replace("_xhmtp._tcp.b.example. 60 SRV 0 0 80 server.b.example.", "")
        + "_xhmtp._tcp.b.example. 60 SRV 1 0 80 first.b.example.\n"
        + "_xhmtp._tcp.b.example. 60 SRV 2 0 80 server.b.example.\n"
    )
    world.network.hosts["first.b.example"] = NotConnected("down")
    numbered(world, 5)
    assert world.notify().notified == 5
    assert paths(world) == [ALONE, TOGETHER]


def test_what_is_anonymous_is_in_a_batch_of_its_own(world: World):
    object.__setattr__(world.a.agent.settings.domains["a.example"], "anonymous", True)
    sent: list[bytes] = []
    between(world, lambda body, _: sent.append(body))
    numbered(world, 5)
    anonymous = MESSAGE.replace(b"From: alice@a.example\r\n", b"")
    for _ in range(4):
        assert world.inject(anonymous).status_int == 201
    assert world.notify().notified == 9
    assert len(sent) == 2
    assert sorted((b"From%3A" in body, b"alice" in body) for body in sent) == [
        (False, False), (True, True),
    ]  # fmt: skip


def test_a_batch_that_was_interrupted_is_told_again_and_arrives_once(world: World):
    numbered(world, 8)

    def lost(body: bytes, answer: bytes) -> None:
        # Taken, and the answer never came.
        assert json.loads(answer)["answers"]
        raise ConnectionFailed("the connection ended without an answer")

    between(world, lost)
    assert world.notify().notified == 1
    world.network.hosts[HOST] = world.b
    for _ in range(3):
        world.clock.now += 300
        world.notify()
    assert arrived(world) == list(range(1, 9))


def test_what_was_not_taken_is_not_believed_again_for_an_hour():
    now = [0.0]
    heard = Announcements(lambda: now[0])
    assert heard.at_once("b.example") == 1
    heard.hear("b.example", "40")
    assert heard.at_once("b.example") == 40
    heard.hear("b.example", "100000")
    assert heard.at_once("b.example") == 100
    heard.hear("b.example", None)
    assert heard.at_once("b.example") == 1
    heard.disbelieve("b.example")
    heard.hear("b.example", "40")
    assert heard.at_once("b.example") == 1
    now[0] += KEPT_FOR
    heard.hear("b.example", "40")
    assert heard.at_once("b.example") == 40
    assert heard.at_once("c.example") == 1
