"""Anonymous messages: nothing in notification, URL or message names their author."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.world import ALICE, BOB, World, basic, call
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient import filters, inbox
from xhmtp_wsgi.recipient.filters import Action

MESSAGE = (
    b"To: bob@b.example\r\nSubject: a hint\r\nDate: Fri, 15 Jan 2027 10:11:12 +0530\r\n"
    b"Message-ID: <alice.123@a.example>\r\nSender: alice@a.example\r\n"
    b"Reply-To: Alice <alice@a.example>\r\nX-Mailer: alices program\r\n"
    b"User-Agent: alice/1.0\r\nOrganization: Alice Ltd\r\nReceived: from alice\r\n"
    b"References: <one@b.example> <alice.9@a.example>\r\nIn-Reply-To: <alice.9@a.example>\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nX-Alice: alice\r\n\r\nlook under the stairs\r\n"
)


@pytest.fixture
def allowing(world: World) -> World:
    object.__setattr__(world.a.agent.settings.domains["a.example"], "anonymous", True)
    return world


def notice(world: World) -> inbox.Notice:
    (found,) = inbox.page(world.b.agent.database, BOB, newest=1, limit=1)
    return found


def test_a_domain_allows_it_or_not(world: World):
    assert world.inject(MESSAGE).status_int == 403


def test_nothing_that_bob_gets_names_her(allowing: World):
    world = allowing
    created = world.inject(MESSAGE)
    assert created.status_int == 201
    assert world.notify().notified == 1
    found = notice(world)
    url = MessageURL.parse(found.url)
    fetched = call(world.a, url.path, authorization=basic("bob@b.example", url.code))
    assert fetched.status_int == 200
    seen = found.headers + found.url.encode() + fetched.body + repr(fetched.headers).encode()
    seen += world.feed().body
    assert b"alice" not in seen.lower()
    assert b"+0530" not in seen
    assert b"look under the stairs" in fetched.body
    assert b"<one@b.example>" in fetched.body, "what it answers is still named"
    assert {check.name: check.result for check in found.checks} == {
        "origin": "pass", "agent": "none", "signature": "none",
    }  # fmt: skip
    assert "anonymous" in world.feed().text


def test_each_message_has_an_alias_of_its_own(allowing: World):
    world = allowing
    first = world.inject(MESSAGE).headers["Location"]
    second = world.inject(MESSAGE.replace(b"123", b"124")).headers["Location"]
    aliases = {location.split("/")[2] for location in (first, second)}
    assert len(aliases) == 2
    assert "alice" not in aliases
    again = world.inject(MESSAGE)
    assert (again.status_int, again.headers["Location"]) == (200, first), "still known for one"


def test_she_sees_and_withdraws_it_and_others_do_not(allowing: World):
    world = allowing
    location = world.inject(MESSAGE).headers["Location"]
    mine = basic("alice@a.example", "wonderland")
    assert call(world.a, f"{location}/status", authorization=mine).status_int == 200
    world.a.agent.accounts.add(type(ALICE).parse("eve@a.example"), "evil")
    eve = basic("eve@a.example", "evil")
    assert call(world.a, f"{location}/status", authorization=eve).status_int == 404
    assert call(world.a, location, method="DELETE", authorization=eve).status_int == 404
    assert call(world.a, location, method="DELETE", authorization=mine).status_int == 200


def test_no_path_tells_whose_it_is(allowing: World):
    world = allowing
    location = world.inject(MESSAGE).headers["Location"]
    world.notify()
    url = MessageURL.parse(notice(world).url)
    identifier = location.rpartition("/")[2]
    code = basic("bob@b.example", url.code)
    answers = {
        call(world.a, f"/xhmtp/{name}/{identifier}", authorization=code).status_int
        for name in ("alice", "eve", "nobody", location.split("/")[2])
    }
    assert len(answers) == 1


def test_it_is_not_signed(allowing: World, monkeypatch: pytest.MonkeyPatch):
    world = allowing
    told: list[Mapping[str, str]] = []
    real = world.network.post

    def post(target: Any, path: str, body: bytes, headers: Mapping[str, str], **more: Any) -> Any:
        told.append(headers)
        return real(target, path, body, headers, **more)

    monkeypatch.setattr(world.network, "post", post)
    key = world.a.agent.signing_keys.add("a.example")
    from tests.test_signature import Published

    Published(world).publish((key.name, key.public))
    world.inject(MESSAGE)
    assert world.notify().notified == 1
    assert {check.name: check.result for check in notice(world).checks}["signature"] == "none"
    assert [set(headers) for headers in told] == [{"Content-Type"}]


def test_a_recipient_may_refuse_such(allowing: World):
    world = allowing
    filters.add(world.b.agent.database, "bob@b.example", Action.REFUSE, "anonymous")
    world.inject(MESSAGE)
    assert world.notify().refused == 1
    report = call(world.a, "/xhmtp/alice@a.example", authorization=basic("alice", "wonderland"))
    assert "Not delivered: a hint" in report.text, "she is told, and nobody else"


def test_one_with_her_name_is_not_made_anonymous(allowing: World):
    named = MESSAGE.replace(b"To: bob", b"From: alice@a.example\r\nTo: bob", 1)
    location = allowing.inject(named).headers["Location"]
    assert location.startswith("/xhmtp/alice/")
