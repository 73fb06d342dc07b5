"""Batches at the receiver: each notification is answered, and kept, as if it had come alone."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from webob import Response

from tests.world import BOB, ZONE, World, call
from xhmtp_wsgi import counters, search
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.request_signer import RequestSigner
from xhmtp_wsgi.protocol.signature import KeyName, key_record
from xhmtp_wsgi.recipient import filters, inbox
from xhmtp_wsgi.recipient.filters import Action
from xhmtp_wsgi.recipient.receiver import FORWARDS_WITHIN
from xhmtp_wsgi.recipient.verdict import PASS

FORM = "application/x-www-form-urlencoded"
HEADERS = "From: alice@a.example\r\nSubject: hello\r\nMessage-ID: <one@a.example>\r\n"
CAROL, DAVE = Endpoint.parse("carol@b.example"), Endpoint.parse("dave@b.example")
A = "192.0.2.1"


def url(recipient: Endpoint = BOB, code: str = "CODE") -> str:
    user = f"{recipient.local}%40{recipient.domain}"
    return f"http://{user}:{code}@server.a.example/xhmtp/alice/abcdefghijklmnopqrstuvwxyz"


def body_of(*fields: tuple[str, str]) -> bytes:
    return urlencode(fields).encode()


def post(world: World, body: bytes, *, address: str = A,
         headers: Mapping[str, str] | None = None, path: str = "/in/box/@b.example",
         content_type: str = FORM) -> Response:  # fmt: skip
    return call(world.b, path, method="POST", body=body, content_type=content_type,
                address=address, headers=headers)  # fmt: skip


def answers(answer: Response) -> list[dict[str, Any]]:
    assert answer.status_int == 200, answer.body
    assert answer.content_type == "application/json"
    found: list[dict[str, Any]] = json.loads(answer.body)["answers"]
    return found


def statuses(answer: Response) -> list[int]:
    return [one["status"] for one in answers(answer)]


def configured(world: World, **changes: Any) -> None:
    agent = world.b.agent
    object.__setattr__(agent, "settings", replace(agent.settings, **changes))


def positions(world: World, owner: Endpoint) -> list[int]:
    found = inbox.page(world.b.agent.database, owner, newest=10**6, limit=10**6)
    return sorted(one.position for one in found)


@pytest.fixture
def everybody(world: World) -> World:
    for one in (CAROL, DAVE):
        world.b.agent.accounts.add(one, None)
    return world


def test_each_is_answered_as_if_it_had_come_alone(everybody: World):
    nobody = Endpoint.parse("nobody@b.example")
    filters.add(everybody.b.agent.database, str(DAVE), Action.REFUSE, "*@a.example")
    body = body_of(
        ("headers", HEADERS), ("url", url(BOB)), ("url", url(nobody)), ("url", url(CAROL)),
        ("url", url(DAVE)), ("url", "nonsense"), ("url", url(BOB)), ("url", url(BOB, "OTHER")),
    )  # fmt: skip
    found = answers(post(everybody, body))
    assert [one["status"] for one in found] == [201, 404, 201, 403, 400, 200, 201]
    assert "no such recipient" in found[1]["detail"]
    assert positions(everybody, BOB) == [1, 2]
    assert positions(everybody, CAROL) == [1]
    assert positions(everybody, DAVE) == []
    assert statuses(post(everybody, body)) == [200, 404, 200, 403, 400, 200, 200]
    assert positions(everybody, BOB) == [1, 2], "the same again changes nothing"
    (notice,) = inbox.page(everybody.b.agent.database, CAROL, newest=9, limit=9)
    assert notice.url == url(CAROL)
    assert {one.name for one in notice.checks if one.result == PASS} == {"origin", "agent"}
    assert everybody.feed().text.count("<title>hello</title>") == 2


def test_a_batch_is_announced_with_each_notification_that_is_taken(everybody: World):
    alone = body_of(("url", url()), ("headers", HEADERS))
    taken = post(everybody, alone, path="/in/box/bob@b.example")
    assert (taken.status_int, taken.headers["XHMTP-Batch"]) == (201, "100;octets=1048576")
    configured(everybody, max_batch=1)
    again = post(everybody, alone, path="/in/box/bob@b.example")
    assert (again.status_int, "XHMTP-Batch" in again.headers) == (200, False)
    together = body_of(("headers", HEADERS), ("url", url(CAROL)))
    assert post(everybody, together).status_int == 404
    assert positions(everybody, CAROL) == []


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("a type", 415), ("a length", 413), ("a number", 413), ("a domain", 421),
        ("two agents", 400), ("a domain that is none", 400), ("a method", 405), ("nothing", 400),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_at_all_is_refused_whole(everybody: World, what: str, status: int):
    configured(everybody, max_batch=3, max_batch_size=5000)
    body = body_of(("headers", HEADERS), ("url", url()), ("url", url(CAROL)))
    before = everybody.rows(everybody.b.agent)
    match what:
        case "a type":
            answer = post(everybody, body, content_type="text/plain")
        case "a length":
            answer = post(everybody, body + b"&x=" + b"x" * 5000)
        case "a number":
            four = body_of(("headers", HEADERS), *(("url", url(code=c)) for c in "WXYZ"))
            answer = post(everybody, four)
        case "a domain":
            answer = post(everybody, body, path="/in/box/@c.example")
        case "two agents":
            other = url(DAVE).replace("server.a", "server.c")
            answer = post(everybody, body + b"&" + body_of(("url", other)))
        case "a domain that is none":
            answer = post(everybody, body, path="/in/box/@b_example")
        case "a method":
            answer = call(everybody.b, "/in/box/@b.example")
        case _:
            answer = post(everybody, b"")
    assert answer.status_int == status
    assert answer.content_type == "application/problem+json"
    assert everybody.rows(everybody.b.agent) == before


def test_a_forger_gets_nothing_in_by_a_batch(everybody: World):
    body = body_of(("headers", HEADERS), ("url", url()), ("url", url(CAROL)))
    assert statuses(post(everybody, body, address="192.0.2.66")) == [403, 403]
    assert positions(everybody, BOB) == positions(everybody, CAROL) == []


def test_one_signature_holds_for_all_of_a_batch(everybody: World):
    seed = bytes(range(32))
    name = KeyName.parse("s1._key._xhmtp.a.example")
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    everybody.resolver.set_zone(f'{ZONE}{name}. 60 TXT "{key_record(public)}"\n')
    body = body_of(("headers", HEADERS), ("url", url()), ("url", url(CAROL)))
    headers = RequestSigner(seed, name, FORM).sign(body, everybody.clock())
    # From an address that is not the sender's: the signature alone lets them in.
    assert statuses(post(everybody, body, address="192.0.2.66", headers=headers)) == [201, 201]
    changed = body.replace(b"CODE", b"C0DE")
    refused = answers(post(everybody, changed, address="192.0.2.66", headers=headers))
    assert [one["status"] for one in refused] == [401, 401]
    assert positions(everybody, BOB) == [1]


def test_each_counts_in_the_limits_of_its_sender(everybody: World):
    configured(everybody, notification_burst=3, notifications_per_second=0.1)
    body = body_of(("headers", HEADERS), *(("url", url(code=c)) for c in "VWXYZ"))
    found = answers(post(everybody, body))
    assert [one["status"] for one in found] == [201, 201, 201, 429, 429]
    assert 0 < found[3]["retry-after"] <= 30
    assert positions(everybody, BOB) == [1, 2, 3]


def test_whoever_writes_in_the_name_of_others_uses_up_his_own_limit(everybody: World):
    """No agent of that domain's is there: it is the address alone that counts."""
    configured(everybody, notification_burst=3, notifications_per_second=0.1)
    headers = HEADERS.replace("alice@a.example", "x@c.example")
    body = body_of(("headers", headers), *(("url", url(code=c)) for c in "VWXYZ"))
    assert statuses(post(everybody, body)) == [201, 201, 201, 429, 429]


def test_a_full_inbox_takes_what_it_has_room_for(everybody: World):
    configured(everybody, max_inbox=2)
    body = body_of(("headers", HEADERS), *(("url", url(code=c)) for c in "WXYZ"),
                   ("url", url(CAROL)))  # fmt: skip
    found = answers(post(everybody, body))
    assert [one["status"] for one in found] == [201, 201, 507, 507, 201]
    assert "retry-after" in found[2]
    assert positions(everybody, BOB) == [1, 2]
    assert statuses(post(everybody, body)) == [200, 200, 507, 507, 200]


def test_a_domain_that_does_not_tell_answers_all_alike(everybody: World):
    agent = everybody.b.agent
    object.__setattr__(agent.settings.domains["b.example"], "unknown_recipients", "hide")
    nobody = Endpoint.parse("nobody@b.example")
    body = body_of(("headers", HEADERS), ("url", url()), ("url", url(nobody)), ("url", url(CAROL)))
    assert answers(post(everybody, body)) == [{"status": 202}] * 3
    assert positions(everybody, BOB) == positions(everybody, CAROL) == [1]
    assert counters.read(agent.database)["notifications:not kept"] == 1
    assert everybody.rows(agent)["notice"] == 2


def test_a_moved_inbox_is_told_of_in_its_place(everybody: World):
    world = everybody
    moved = Endpoint.parse("moved@b.example")
    world.b.agent.addressing.add(moved, Endpoint.parse("bob@a.example"), world.clock())
    body = body_of(("headers", HEADERS), ("url", url()), ("url", url(moved)), ("url", url(CAROL)))
    found = answers(post(world, body))
    assert [one["status"] for one in found] == [201, 308, 201]
    assert found[1]["location"] == "http://server.a.example/xhmtp/bob%40a.example"


def test_where_inboxes_have_moved_to_is_found_out_for_so_long_and_no_longer(
    everybody: World, monkeypatch: pytest.MonkeyPatch
):
    world, discovery = everybody, everybody.b.agent.discovery
    moved = [Endpoint.parse(f"moved{number}@b.example") for number in range(4)]
    for one in moved:
        world.b.agent.addressing.add(one, Endpoint.parse("bob@a.example"), world.clock())
    prompt = discovery.prefix

    def slow(domain: str) -> str:
        world.clock.now += FORWARDS_WITHIN / 2 + 0.1
        return prompt(domain)

    body = body_of(("headers", HEADERS), *(("url", url(one)) for one in moved),
                   ("url", url(CAROL)))  # fmt: skip
    agent = world.b.agent
    assert statuses(post(world, body))[:4] == [308] * 4, "all, where the DNS is quick"
    monkeypatch.setattr(agent.discovery, "prefix", slow)
    found = answers(post(world, body))
    assert [one["status"] for one in found[:4]].count(503) >= 1
    assert found[0]["status"] == 308
    assert found[4]["status"] in (200, 201), "what is here does not suffer"


def test_an_alias_and_its_owner_are_two_addresses_of_one_inbox(everybody: World):
    world = everybody
    alias = Endpoint.parse("sales@b.example")
    world.b.agent.addressing.add(alias, BOB, world.clock())
    tagged = Endpoint.parse("bob+shop@b.example")
    body = body_of(
        ("headers", HEADERS), ("url", url(alias)), ("url", url(BOB)), ("url", url(tagged)),
    )  # fmt: skip
    assert statuses(post(world, body)) == [201, 201, 201]
    assert positions(world, BOB) == [1, 2, 3]


def test_what_is_quarantined_takes_no_place_in_the_feed(everybody: World):
    database = everybody.b.agent.database
    filters.add(database, str(BOB), Action.QUARANTINE, "*", "subject", "spam*")
    filters.add(database, str(BOB), Action.DISCARD, "*", "subject", "gone*")
    spam, gone = HEADERS.replace("hello", "spam"), HEADERS.replace("hello", "gone")
    body = body_of(
        ("headers", HEADERS), ("url", url(code="A")), ("headers", spam), ("url", url(code="B")),
        ("headers", gone), ("url", url(code="C")), ("headers", HEADERS), ("url", url(code="D")),
    )  # fmt: skip
    assert statuses(post(everybody, body)) == [201, 201, 201, 201]
    assert positions(everybody, BOB) == [1, 2]
    assert [one.position for one in inbox.quarantined(database, BOB)] == [-1]
    assert inbox.state(database, BOB).version == 2


def test_an_answer_belongs_to_the_conversation_that_came_with_it(everybody: World):
    reply = (
        "From: alice@a.example\r\nSubject: Re: hello\r\nMessage-ID: <two@a.example>\r\n"
        "In-Reply-To: <one@a.example>\r\n"
    )
    later = reply.replace("two@", "three@").replace("one@", "two@")
    body = body_of(
        ("headers", HEADERS.replace("<one@", "<zero@").replace("Subject", "References: "
                                    "<first@a.example>\r\nSubject")), ("url", url(code="Z")),
        ("headers", HEADERS), ("url", url(code="A")),
        ("headers", reply), ("url", url(code="B")),
        ("headers", later), ("url", url(code="C")),
        ("headers", HEADERS), ("url", url(CAROL)),
    )  # fmt: skip
    assert statuses(post(everybody, body)) == [201] * 5
    zero, one, two, three = reversed(inbox.page(everybody.b.agent.database, BOB, newest=9, limit=9))
    assert one.thread == two.thread == three.thread != zero.thread


def test_words_of_a_batch_are_found(everybody: World):
    body = body_of(
        ("headers", HEADERS.replace("hello", "viaduct")), ("url", url()), ("url", url(CAROL)),
        ("headers", HEADERS.replace("hello", "quarry")), ("url", url(code="B")),
    )  # fmt: skip
    assert statuses(post(everybody, body)) == [201] * 3
    database = everybody.b.agent.database
    (hit,) = search.find(database, BOB, "quarry", limit=9)
    newest, _ = inbox.page(database, BOB, newest=9, limit=9)
    assert hit.item == newest.identifier
    assert len(search.find(database, BOB, "viaduct", limit=9)) == 1
    assert len(search.find(database, CAROL, "viaduct", limit=9)) == 1
    assert search.find(database, CAROL, "quarry", limit=9) == []


def test_the_site_is_told_of_each_arrival(everybody: World):
    told: list[str] = []

    def hear(arrival: Any) -> None:
        told.append(arrival.recipient)
        raise RuntimeError("the site's own fault")

    object.__setattr__(everybody.b.agent, "on_arrival", hear)
    body = body_of(("headers", HEADERS), ("url", url()), ("url", url()), ("url", url(CAROL)))
    assert statuses(post(everybody, body)) == [201, 200, 201]
    assert told == ["bob@b.example", "carol@b.example"]


def test_the_figures_count_each(everybody: World):
    nobody = Endpoint.parse("nobody@b.example")
    body = body_of(("headers", HEADERS), ("url", url()), ("url", url()), ("url", url(nobody)))
    post(everybody, body)
    everybody.b.agent.counters.write()
    found = counters.read(everybody.b.agent.database)
    assert [found.get(f"notifications:{word}") for word in ("taken", "repeated", "refused")] == [
        1, 1, 1,
    ]  # fmt: skip
