"""Filters, quarantine, and names that a domain does not tell."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_signature import NAME, Published, form, post, public, signed
from tests.world import BOB, ZONE, World, call
from xhmtp_wsgi.errors import Malformed, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import filters, inbox
from xhmtp_wsgi.recipient.filters import Action, Rule, Subject, decide, parse_who

TYPE = {"content-type": "application/x-www-form-urlencoded"}
ALICE_THERE = "192.0.2.1"


def told(world: World, body: bytes | None = None) -> int:
    """A notification from alice's own agent; the answer's code."""
    return int(post(world, TYPE, form() if body is None else body, ALICE_THERE).status_int)


def rule(
    world: World,
    owner: str,
    action: str,
    who: str,
    header: str | None = None,
    pattern: str | None = None,
) -> Rule:
    return filters.add(world.b.agent.database, owner, Action(action), who, header, pattern)


def subjects(world: World) -> list[str]:
    return [item["title"] for item in
            world.feed(headers={"Accept": "application/feed+json"}).json["items"]]  # fmt: skip


def test_what_meets_no_rule_is_accepted(world: World):
    assert told(world) == 201


@pytest.mark.parametrize(
    ("action", "answer", "in_feed", "kept_out"),
    [("accept", 201, 1, 0), ("refuse", 403, 0, 0), ("discard", 201, 0, 0),
     ("quarantine", 201, 0, 1)],
)  # fmt: skip
def test_each_action_does_as_it_says(
    world: World, action: str, answer: int, in_feed: int, kept_out: int
):
    rule(world, "bob@b.example", action, "*")
    assert told(world) == answer
    assert len(subjects(world)) == in_feed
    assert len(inbox.quarantined(world.b.agent.database, BOB)) == kept_out
    assert told(world) in (answer, 200), "again"
    assert len(subjects(world)) == in_feed


@pytest.mark.parametrize(
    ("who", "meant"),
    [("alice@a.example", True), ("ALICE@A.example", True), ("*@a.example", True),
     ("*.example", True), ("*", True), ("unsigned", True), ("bob@a.example", False),
     ("*@example", False), ("*.a.example", False), ("anonymous", False)],
)  # fmt: skip
def test_who_is_meant(sqlite_world: World, who: str, meant: bool):
    rule(sqlite_world, "b.example", "refuse", who)
    assert told(sqlite_world) == (403 if meant else 201)


def test_the_domains_rules_come_first_and_the_first_match_wins(world: World):
    rule(world, "bob@b.example", "refuse", "*")
    rule(world, "b.example", "accept", "*@a.example")
    assert told(world) == 201
    first = filters.add(world.b.agent.database, "b.example", Action.DISCARD, "*", first=True)
    assert filters.rules_for(world.b.agent.database, BOB)[0] == first
    assert len(subjects(world)) == 1


def test_a_rule_may_look_at_a_header(sqlite_world: World):
    rule(sqlite_world, "bob@b.example", "refuse", "*", header="Subject", pattern="*WIN*money*")
    url = "http://bob%40b.example:CODE@server.a.example/xhmtp/alice/abcdefghijklmnopqrstuvwxyz"
    spam = {
        "url": url,
        "headers": "From: alice@a.example\r\nSubject: =?utf-8?q?w=69n_m=6Fney?=\r\n",
    }
    assert told(sqlite_world, urlencode(spam).encode()) == 403
    assert told(sqlite_world) == 201


def test_a_forged_from_meets_no_rule_that_accepts(sqlite_world: World):
    world = sqlite_world
    rule(world, "bob@b.example", "accept", "alice@a.example")
    rule(world, "bob@b.example", "quarantine", "*")
    # mallory's own host, which is at the address that calls, says that it is alice who writes.
    world.resolver.set_zone(ZONE + "mallory.example. 60 A 192.0.2.66")
    body = form(host="mallory.example")
    assert post(world, TYPE, body, "192.0.2.66").status_int == 201
    assert len(inbox.quarantined(world.b.agent.database, BOB)) == 1, "not accepted as alice's"


def test_unsigned_means_without_a_signature_that_passes(sqlite_world: World):
    Published(sqlite_world).publish((NAME, public()))
    rule(sqlite_world, "b.example", "refuse", "unsigned")
    body = form()
    assert told(sqlite_world, body) == 403
    assert post(sqlite_world, signed(body), body).status_int == 201


def test_what_is_released_comes_into_the_feed_as_the_newest(world: World):
    database, clock = world.b.agent.database, world.clock
    rule(world, "bob@b.example", "quarantine", "alice@a.example")
    told(world)
    before = world.feed().headers["ETag"]
    (kept,) = inbox.quarantined(database, BOB)
    assert world.feed(headers={"If-None-Match": before}).status_int == 304
    inbox.release(database, BOB, kept.identifier, clock())
    assert inbox.quarantined(database, BOB) == []
    assert world.feed(headers={"If-None-Match": before}).status_int == 200
    assert len(subjects(world)) == 1
    with pytest.raises(NotFound):
        inbox.release(database, BOB, kept.identifier, clock())
    assert told(world) == 200, "had it already"


def test_what_was_taken_already_changes_nothing(world: World):
    database = world.b.agent.database
    assert told(world) == 201
    before, etag = inbox.state(database, BOB), world.feed().headers["ETag"]
    assert (before.last_position, before.version, before.changed_at) == (1, 1, world.clock())
    rows = world.rows(world.b.agent)
    world.clock.now += 10
    assert told(world) == 200
    kept_out = rule(world, "bob@b.example", "quarantine", "*")
    assert told(world) == 200
    filters.remove(database, "bob@b.example", kept_out.id)
    assert inbox.state(database, BOB) == before
    assert world.feed().headers["ETag"] == etag
    assert world.rows(world.b.agent) == rows
    assert told(world, form().replace(b"abcdefghij", b"bbbbbbbbbb")) == 201
    found = inbox.page(database, BOB, newest=9, limit=9)
    assert [notice.position for notice in found] == [2, 1], "no number was left out"
    assert inbox.state(database, BOB).version == 2


def test_what_is_dropped_from_quarantine_is_gone(world: World):
    rule(world, "bob@b.example", "quarantine", "*")
    told(world)
    database = world.b.agent.database
    (kept,) = inbox.quarantined(database, BOB)
    inbox.drop(database, BOB, kept.identifier, world.clock())
    assert inbox.quarantined(database, BOB) == []
    assert subjects(world) == []


@pytest.mark.parametrize("who", ["", "alice", "*alice@a", "@a", "*@", "*.", "**", "a@b@c", "x y@a"])
def test_what_names_nobody_is_no_rule(sqlite_world: World, who: str):
    with pytest.raises(Malformed):
        rule(sqlite_world, "b.example", "refuse", who)


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_upsets_the_rules(who: str, pattern: str):
    try:
        meant = parse_who(who)
    except Malformed:
        meant = "*"
    subject = Subject(Endpoint.parse("alice@a.example"), False, True, {"subject": pattern})
    found = [Rule(1, "b.example", Action.REFUSE, meant, "subject", pattern or "x")]
    assert decide(found, subject)[0] in Action


# Names that are not told


def test_a_domain_may_hide_which_names_it_has(world: World):
    object.__setattr__(world.b.agent.settings.domains["b.example"], "unknown_recipients", "hide")
    answers = []
    for name in ("bob", "nobody"):
        body = form().replace(b"bob%2540", name.encode() + b"%2540")
        for _ in range(2):
            answer = call(
                world.b, f"/in/box/{name}@b.example", method="POST", body=body,
                content_type=TYPE["content-type"], address=ALICE_THERE,
            )  # fmt: skip
            text = answer.text.replace(name, "NAME")
            headers = {k: v for k, v in answer.headers.items() if k != "Content-Length"}
            answers.append((answer.status_int, text, headers))
    assert answers[0][0] == 202
    assert all(answer == answers[0] for answer in answers)
    assert len(subjects(world)) == 1


def test_by_default_an_unknown_name_is_told(world: World):
    body = form().replace(b"bob%2540", b"nobody%2540")
    answer = call(
        world.b, "/in/box/nobody@b.example", method="POST", body=body,
        content_type=TYPE["content-type"], address=ALICE_THERE,
    )  # fmt: skip
    assert answer.status_int == 404
