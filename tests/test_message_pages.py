"""A message on its owner's page: fetched, checked, shown harmlessly, and kept as he has chosen."""

import sys
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from tests.fakes.browser import Browser
from tests.processor_time import taken
from tests.test_message_page import HOSTILE, HTML, SLOW
from tests.test_reading import new_key, register
from tests.test_threats import NoNetwork
from tests.world import ALICE, BOB, World, basic, call, make_world
from xhmtp_wsgi import opening, preferences, search
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import (
    AddressRefused,
    ConnectionFailed,
    DeadlineExceeded,
    DNSUnavailable,
    TLSFailed,
)
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.mime_parts import entity_of
from xhmtp_wsgi.protocol.signed_message import sign_message
from xhmtp_wsgi.protocol.ssh_signature import sign
from xhmtp_wsgi.recipient import inbox, kept_copies, mailbox, reading
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.mailbox import Wanted
from xhmtp_wsgi.recipient.tables import notices
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.tables import pieces
from xhmtp_wsgi.web import bounded_html, failed_readings, harmless_html, shown_parts
from xhmtp_wsgi.web.known_senders import is_known
from xhmtp_wsgi.web.plain_text import text_as_html
from xhmtp_wsgi.web.shown_message import raw_fields, shown_message

HOME = "/in/box/bob%40b.example/"
CHERYL = Endpoint.parse("cheryl@b.example")
LONG = 512 << 10  # octets
PNG = b"\x89PNG\r\n\x1a\n" + bytes(50)


def settled(agent: Agent, *, reading: bool = True, at_once: int = 2) -> Agent:
    """The agent with other settings."""
    domains = {
        name: replace(domain, reading=reading) for name, domain in agent.settings.domains.items()
    }
    settings = replace(agent.settings, domains=domains, reading_at_once=at_once)
    return replace(agent, settings=settings)


def switch_on(world: World, **settings: Any) -> None:
    """bob's agent fetches messages for its users."""
    world.b.agent = world.b.wing._agent = settled(world.b.agent, **settings)


@pytest.fixture
def reader(world: World) -> Browser:
    """bob's browser, his agent fetching for him."""
    switch_on(world)
    return browser_of(world)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world on SQLite, in which all tests that take it read their own messages."""
    directory = tmp_path_factory.mktemp("shared")
    with make_world(directory, f"sqlite:///{directory}/a.db") as made:
        switch_on(made)
        yield made


@pytest.fixture
def quick(shared: World) -> Iterator[Browser]:
    """bob's browser there."""
    yield browser_of(shared)
    choose(shared, "never")


def browser_of(world: World) -> Browser:
    browser = Browser(world.b, HOME)
    browser.headers["Authorization"] = basic("bob@b.example", "builder")
    return browser


def send(
    world: World, body: str | bytes = "Dear Bob", *lines: str, subject: str = "hello"
) -> Notice:
    """alice writes to bob; what came of it."""
    head = ["From: Alice <alice@a.example>", "To: bob@b.example", f"Subject: {subject}", *lines]
    octets = body.encode() if isinstance(body, str) else body
    world.clock.now += 1
    world.inject("\r\n".join(head).encode() + b"\r\n\r\n" + octets)
    assert world.notify().notified == 1
    return newest(world)


def newest(world: World) -> Notice:
    return mailbox.listed(world.b.agent.database, BOB, Wanted(folder=None), limit=1)[0]


def opened(browser: Browser, notice: Notice, query: str = "") -> str:
    """The text of a message's page."""
    assert browser.get(f"message/{notice.identifier}{query}").status_int == 200
    return " ".join(browser.page.text.split())


def seen(world: World, notice: Notice) -> bool:
    return mailbox.find(world.b.agent.database, BOB, notice.identifier).seen_at is not None


def kept(world: World, notice: Notice) -> bool:
    return kept_copies.kept(world.b.agent.database, notice.identifier) is not None


def withdraw(world: World) -> None:
    """alice takes back all that she has sent."""
    for message in outbox.sent(world.a.agent.database, ALICE, limit=100, skip=0):
        outbox.withdraw(world.a.agent.database, message.identifier, world.clock())


def choose(world: World, keep: str) -> None:
    preferences.put(world.b.agent.database, BOB, "keep", keep)


def unplug(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks another agent for something is told off."""

    def get(*_: Any, **__: Any) -> HTTPAnswer:
        raise AssertionError("a web process has used the network")

    monkeypatch.setattr(world.network, "get", get)


# Opening


def test_who_opens_a_message_reads_it_and_what_was_checked(world: World, reader: Browser):
    notice = send(world)
    assert not seen(world, notice)
    text = opened(reader, notice)
    assert "Dear Bob" in text
    assert "Alice <alice@a.example>" in text
    assert "✓ sent by the server of a.example" in text
    assert "That it is unchanged: passed" in text
    assert "The author's own signature: not checked" in text
    assert "It was fetched from server.a.example. No copy is kept" in text
    assert seen(world, notice)
    (stored,) = outbox.sent(world.a.agent.database, ALICE, limit=9, skip=0)
    (status,) = outbox.statuses(world.a.agent.database, stored.identifier)
    assert status.state == "fetched"


def test_where_it_is_not_switched_on_nothing_is_fetched(world: World):
    notice = send(world)
    object.__setattr__(world.b.agent, "network", NoNetwork())
    reader = browser_of(world)
    text = opened(reader, notice)
    assert "this site does not fetch messages for its users" in text
    assert "Dear Bob" not in text
    assert "Alice <alice@a.example>" in text
    assert reader.page.links["Read the message at server.a.example"] == notice.url
    assert seen(world, notice), "there is no more to be seen here"
    for below in ("part/1", "source", "whole"):
        assert reader.get(f"message/{notice.identifier}/{below}").status_int == 403


def test_what_was_kept_is_shown_without_a_connection(world: World, reader: Browser):
    choose(world, "always")
    notice = send(world, "kept words")
    assert "a copy is kept here from now on" in opened(reader, notice)
    switch_on(world, reading=False)
    object.__setattr__(world.b.agent, "network", NoNetwork())
    assert "kept words" in opened(reader, notice)
    assert "This is the copy that is kept here" in opened(reader, notice)
    assert reader.get(f"message/{notice.identifier}/source").status_int == 200


@pytest.mark.parametrize("asking", [{"Sec-Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"},
                                    {"X-Moz": "prefetch"}])  # fmt: skip
def test_a_browser_that_looks_ahead_fetches_nothing(
    shared: World, quick: Browser, monkeypatch: pytest.MonkeyPatch, asking: Mapping[str, str]
):
    notice = send(shared)
    unplug(shared, monkeypatch)
    quick.headers.update(asking)
    assert quick.get(f"message/{notice.identifier}").status_int == 503
    assert not seen(shared, notice)


def test_head_fetches_nothing(shared: World, quick: Browser, monkeypatch: pytest.MonkeyPatch):
    notice = send(shared)
    unplug(shared, monkeypatch)
    answer = call(
        shared.b, f"{HOME}message/{notice.identifier}", method="HEAD", headers=quick.headers
    )
    assert (answer.status_int, answer.body) == (200, b"")
    assert not seen(shared, notice)


def test_a_message_of_our_own_agent_needs_no_connection(sqlite_world: World):
    """A site with one worker would wait for itself; reports of failures come this way, too."""
    world = sqlite_world
    carol = Endpoint.parse("carol@a.example")
    world.a.agent.accounts.add(carol, "builder")
    world.inject(b"From: alice@a.example\r\nTo: carol@a.example\r\nSubject: x\r\n\r\nNext door\r\n")
    world.notify()
    (notice,) = mailbox.listed(world.a.agent.database, carol, Wanted(), limit=9)
    object.__setattr__(world.a.agent, "network", NoNetwork())
    browser = Browser(world.a, "/xhmtp/carol%40a.example/")
    browser.headers["Authorization"] = basic("carol@a.example", "builder")
    assert "Next door" in opened(browser, notice)
    (stored,) = outbox.sent(world.a.agent.database, ALICE, limit=9, skip=0)
    assert outbox.statuses(world.a.agent.database, stored.identifier)[0].state == "fetched"
    withdraw(world)
    assert "Its sender has withdrawn it" in opened(browser, notice)


def test_anothers_message_is_not_there(shared: World, quick: Browser):
    notice = send(shared)
    shared.b.agent.accounts.add(CHERYL, "pass")
    cheryl = Browser(shared.b, "/in/box/cheryl%40b.example/")
    cheryl.headers["Authorization"] = basic("cheryl@b.example", "pass")
    for below in ("", "/part/1", "/source", "/whole", "/nothing"):
        assert cheryl.get(f"message/{notice.identifier}{below}").status_int == 404
    cheryl.get(f"{HOME}message/{notice.identifier}")
    assert "Dear Bob" not in cheryl.answer.text
    assert "/login" in cheryl.path
    assert quick.get("message").status_int == 404
    assert quick.get("message/none").status_int == 404


# What goes wrong


def change_octets(world: World, _: pytest.MonkeyPatch) -> None:
    (message,) = outbox.sent(world.a.agent.database, ALICE, limit=1, skip=0)
    with world.a.agent.database.transaction() as connection:
        this = pieces.c.message == message.identifier
        stored = connection.execute(select(pieces.c.octets).where(this)).scalar_one()
        changed = stored.replace(b"Bob", b"Eve")
        connection.execute(update(pieces).where(this).values(octets=changed))


def answered(status: int) -> Any:
    """alice's server answers so, whatever it is asked."""

    def happens(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        answer = HTTPAnswer(status, {}, b"")
        monkeypatch.setattr(world.network, "get", lambda *_, **__: answer)

    return happens


def failed(error: Exception) -> Any:
    """It is not reached."""

    def happens(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(world.network.hosts, "server.a.example", error)

    return happens


TROUBLE: Mapping[str, tuple[Any, str]] = {
    "withdrawn": (lambda world, _: withdraw(world), "Its sender has withdrawn it"),
    "changed": (change_octets, "It is not the message that was announced"),
    "not there": (answered(404), "Its sender's server does not have it"),
    "refused": (answered(401), "Its sender's server does not have it"),
    "led elsewhere": (answered(302), "Its sender's server does not have it"),
    "failing": (answered(503), "Its sender's server is not reached"),
    "too often": (answered(429), "Its sender's server is not reached"),
    "down": (failed(ConnectionFailed("x")), "does not answer"),
    "slow": (failed(DeadlineExceeded("x")), "is too slow just now"),
    "not it": (failed(TLSFailed("x")), "could not prove that it is the server"),
    "not found": (failed(DNSUnavailable("x")), "could not be found out where"),
    "inside": (failed(AddressRefused("x")), "none of the public internet"),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_what_goes_wrong_is_told_in_plain_words(
    shared: World, quick: Browser, monkeypatch: pytest.MonkeyPatch, name: str
):
    happens, words = TROUBLE[name]
    notice = send(shared)
    happens(shared, monkeypatch)
    text = opened(quick, notice)
    assert words in text
    assert "Dear" not in text
    assert "Alice <alice@a.example>" in text
    assert not seen(shared, notice), "so that it is found again"
    assert ("do", "again") in quick.page.form(notice.identifier, ("do", "again")).buttons
    assert quick.page.links["Open it at server.a.example yourself"] == notice.url
    assert quick.get(f"message/{notice.identifier}/part/1").status_int >= 400


def test_an_expired_message_is_said_to_have_expired(sqlite_world: World):
    switch_on(sqlite_world)
    quick = browser_of(sqlite_world)
    notice = send(sqlite_world)
    sqlite_world.clock.now += 31 * 86400
    text = opened(quick, notice)
    assert "Its sender's server no longer keeps it" in text
    assert "withdrawn" not in text


def test_a_message_that_is_too_large_is_not_asked_for(
    shared: World, quick: Browser, monkeypatch: pytest.MonkeyPatch
):
    notice = send(shared)
    monkeypatch.setattr(reading, "MOST", 10)
    unplug(shared, monkeypatch)
    assert "It is too large to be shown here" in opened(quick, notice)


def test_what_failed_is_tried_again_when_asked_to(world: World, reader: Browser):
    notice = send(world)
    server = world.network.hosts["server.a.example"]
    world.network.hosts["server.a.example"] = ConnectionFailed("server.a.example refuses")
    assert "does not answer" in opened(reader, notice)
    world.network.hosts["server.a.example"] = server
    reader.submit(notice.identifier, ("do", "again"))
    assert "Dear Bob" in reader.page.text
    assert seen(world, notice)


def test_a_page_that_is_loaded_again_does_not_fetch_again_at_once(
    shared: World, quick: Browser, monkeypatch: pytest.MonkeyPatch
):
    world, asked = shared, []
    notice = send(world)

    def get(*_: Any, **__: Any) -> Any:
        asked.append(1)
        raise ConnectionFailed("down")

    monkeypatch.setattr(world.network, "get", get)
    for _ in range(3):
        assert "does not answer" in opened(quick, notice)
    assert len(asked) == 1
    quick.submit(notice.identifier, ("do", "again"))
    assert len(asked) == 2
    world.clock.now += failed_readings.FAILED_FOR + 1
    opened(quick, notice)
    assert len(asked) == 3


def test_a_flood_of_openings_leaves_threads_for_others(sqlite_world: World):
    world = sqlite_world
    switch_on(world, at_once=1)
    slow, quick_one = send(world, subject="slow"), send(world, subject="quick")
    begun, may_end = threading.Event(), threading.Event()
    real = world.network.get

    def get(*arguments: Any, **options: Any) -> Any:
        begun.set()
        assert may_end.wait(30)
        return real(*arguments, **options)

    world.network.get = get  # type: ignore[method-assign]
    first, second = browser_of(world), browser_of(world)
    thread = threading.Thread(target=first.get, args=(f"message/{slow.identifier}",))
    thread.start()
    try:
        assert begun.wait(30)
        assert "This site is busy" in opened(second, quick_one)
        assert browser_of(world).get("inbox").status_int == 200
    finally:
        may_end.set()
        thread.join(30)
    assert "Dear Bob" in first.page.text
    assert "Dear Bob" in opened(second, quick_one), "busy is not remembered"


def test_a_page_waits_less_than_a_terminal_and_tells_nothing_of_its_reader(
    shared: World, quick: Browser, monkeypatch: pytest.MonkeyPatch
):
    notice = send(shared)
    waits: list[float] = []
    told: list[str] = []
    real = shared.network.get

    def get(*arguments: Any, **options: Any) -> Any:
        waits.append(options["within"])
        told.extend(arguments[2])
        return real(*arguments, **options)

    monkeypatch.setattr(shared.network, "get", get)
    quick.headers["User-Agent"] = "bob's own"
    opened(quick, notice)
    assert waits == [opening.PATIENCE]
    assert told == ["Accept", "Authorization"], "and nothing of bob's"


# Whom one is told of


def test_another_author_in_the_message_than_was_told_is_named(shared: World, quick: Browser):
    notice = send(shared)
    assert "Careful" not in opened(quick, notice)
    told = notice.headers.replace(b"Alice <alice@a.example>", b"Bank <x@bank.example>")
    assert told != notice.headers
    with shared.b.agent.database.transaction() as connection:
        this = notices.c.id == notice.identifier
        connection.execute(update(notices).where(this).values(headers=told))
    text = opened(quick, notice)
    assert "Careful: you were told of a message from the sender above" in text
    assert "it is from Alice <alice@a.example>" in text
    assert "Bank <x@bank.example>" in text


def test_a_new_key_is_told_and_taken_when_asked_to(shared: World, quick: Browser, tmp_path: Path):
    world = shared
    choose(world, "always")

    def signed(name: str) -> Notice:
        key = new_key(tmp_path, name)
        register(world, key)
        secret = key.read_bytes()
        message = f"From: alice@a.example\r\nTo: bob@b.example\r\nSubject: {name}\r\n\r\nx\r\n"
        octets = sign_message(message.encode(), lambda given: sign(secret, None, given), "edge42")
        world.inject(octets)
        world.notify()
        return newest(world)

    text = opened(quick, signed("first"))
    assert "The author's own signature: passed" in text
    assert "signature.asc" not in text, "the signature is no attachment"
    changed = signed("second")
    text = opened(quick, changed)
    assert "The author's own signature: failed. signed with another key than" in text
    quick.submit(changed.identifier, ("do", "trust"))
    assert "The new key is taken for the author's" in quick.page.text
    assert "The author's own signature: passed" in " ".join(quick.page.text.split())


# Copies


def test_a_copy_is_kept_as_its_owner_has_chosen(world: World, reader: Browser):
    never = send(world)
    opened(reader, never)
    assert not kept(world, never)
    choose(world, "always")
    always = send(world)
    opened(reader, always)
    assert kept(world, always)
    choose(world, "known")
    stranger = send(world, "x", subject="from a stranger")
    for notice in (never, always):
        mailbox.delete(world.b.agent.database, BOB, [notice.identifier], world.clock())
    opened(reader, stranger)
    assert not kept(world, stranger), "he has opened nothing of hers before"
    known = send(world)
    opened(reader, known)
    assert kept(world, known)


def test_what_was_kept_stays_when_its_sender_withdraws_it_or_is_down(world: World, reader: Browser):
    choose(world, "always")
    was_kept = send(world, "the kept words")
    opened(reader, was_kept)
    choose(world, "never")
    was_not = send(world, "other words")
    opened(reader, was_not)
    withdraw(world)
    world.network.hosts["server.a.example"] = ConnectionFailed("down")
    assert "the kept words" in opened(reader, was_kept)
    text = opened(reader, was_not)
    assert "other words" not in text
    assert "No copy was kept here" in text


def test_a_kept_text_is_found_by_its_words(world: World, reader: Browser):
    choose(world, "always")
    html = "Content-Type: text/html"
    notice = send(world, "<p>Über <b>Seerosen</b></p><script>hidden</script>", html)

    def found(query: str) -> list[str]:
        return [hit.item for hit in search.find(world.b.agent.database, BOB, query, limit=9)]

    assert found("seerosen") == []
    opened(reader, notice)
    assert found("uber seerosen hello alice") == [notice.identifier], "text and header"
    assert found("hidden") == []


def test_one_message_is_kept_when_asked_to(shared: World, quick: Browser):
    notice = send(shared)
    opened(quick, notice)
    quick.submit(notice.identifier, ("do", "keep"))
    assert "A copy is kept." in quick.page.text
    assert kept(shared, notice)
    withdraw(shared)
    assert "Dear Bob" in opened(quick, notice)


def test_whose_messages_are_from_people_one_knows(world: World):
    agent, database = world.b.agent, world.b.agent.database
    first, second = send(world, subject="first"), send(world, subject="second")
    assert not is_known(agent, BOB, first), "nothing of hers was opened"
    assert not is_known(agent, CHERYL, first)
    mailbox.set_seen(database, BOB, [first.identifier], 1.0, seen=True)
    assert is_known(agent, BOB, second)
    assert not is_known(agent, BOB, mailbox.find(database, BOB, first.identifier)), "only itself"
    mailbox.move(database, BOB, [first.identifier], mailbox.TRASH)
    assert not is_known(agent, BOB, second), "it was thrown away"
    forged = replace(second, checks=tuple(replace(one, result="fail") for one in second.checks))
    world.b.submit(
        b"From: bob@b.example\r\nTo: Carol <carol@c.example>\r\nCc: ALICE@a.example\r\n\r\nx"
    )
    assert is_known(agent, BOB, second), "he has written to her"
    assert not is_known(agent, BOB, forged), "anybody may have written her name"
    assert not is_known(agent, CHERYL, second)


# Conversations


def test_a_conversation_stands_around_the_message_oldest_first(world: World, reader: Browser):
    first = send(world, "x", "Message-ID: <1@a.example>", subject="one")
    world.clock.now += 60
    world.b.submit(
        b"From: bob@b.example\r\nTo: alice@a.example\r\nSubject: two\r\n"
        b"References: <1@a.example>\r\n\r\nx"
    )
    world.clock.now += 60
    third = send(world, "x", "References: <1@a.example>", subject="three")
    send(world, subject="another")
    opened(reader, third)
    earlier = reader.answer.text.partition("Earlier in this conversation")[2]
    assert 0 < earlier.find(">one<") < earlier.find(">two<") < earlier.find("<article")
    assert "another" not in reader.page.text
    text = opened(reader, first)
    assert "Later in this conversation" in text
    assert "Earlier in this conversation" not in text
    assert text.find("two") < text.find("three")
    two = next(url for name, url in reader.page.links.items() if "two" in name)
    assert "/sent/" in two
    assert reader.get(two).status_int == 200


# What is done with it


def test_a_star_is_set_and_taken_away(shared: World, quick: Browser):
    notice = send(shared)
    for name, starred in (("star", True), ("unstar", False)):
        opened(quick, notice)
        quick.submit(notice.identifier, ("do", name))
        assert quick.path.startswith(f"{HOME}message/"), "it is still shown"
        changed = mailbox.find(shared.b.agent.database, BOB, notice.identifier)
        assert (changed.starred_at is not None) is starred


@pytest.mark.parametrize(("name", "folder"), [("archive", "archive"), ("trash", "trash")])
def test_it_is_put_away(shared: World, quick: Browser, name: str, folder: str):
    notice = send(shared)
    opened(quick, notice)
    quick.submit("change", ("do", name))
    assert quick.path.startswith(f"{HOME}inbox")
    database = shared.b.agent.database
    assert mailbox.find(database, BOB, notice.identifier).folder == folder
    opened(quick, notice)
    quick.submit("change", ("do", "inbox"))
    assert mailbox.find(database, BOB, notice.identifier).folder == "inbox"


def test_it_is_marked_as_not_read(shared: World, quick: Browser):
    notice = send(shared)
    opened(quick, notice)
    assert seen(shared, notice)
    quick.submit("change", ("do", "unseen"))
    assert not seen(shared, notice)


def test_what_is_in_quarantine_is_released_from_its_page(shared: World, quick: Browser):
    notice = send(shared)
    with shared.b.agent.database.transaction() as connection:
        this = notices.c.id == notice.identifier
        connection.execute(update(notices).where(this).values(position=-1))
    assert "put this into quarantine" in opened(quick, notice)
    quick.submit("quarantine", ("do", "release"))
    assert inbox.quarantined(shared.b.agent.database, BOB) == []


@pytest.mark.parametrize("name", ["", "nothing", "delete"])
def test_no_other_change_is_made(shared: World, quick: Browser, name: str):
    notice = send(shared)
    opened(quick, notice)
    token = quick.page.form(notice.identifier).values("token")[0]
    assert (
        quick.post(f"message/{notice.identifier}", {"do": name, "token": token}).status_int == 400
    )
    assert quick.post(f"message/{notice.identifier}", {"do": "star"}).status_int == 403


# Parts


def mixed(*parts: tuple[str, str]) -> tuple[str, str]:
    """The body of a multipart message, and the field that says so; parts: header and body."""
    body = "".join(f"--edge\r\n{head}\r\n\r\n{text}\r\n" for head, text in parts) + "--edge--\r\n"
    return body, 'Content-Type: multipart/mixed; boundary="edge"'


def attached(name: str, kind: str, octets: bytes) -> tuple[str, str]:
    head = (
        f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n"
        f'Content-Disposition: attachment; filename="{name}"'
    )
    return head, b64encode(octets).decode()


@pytest.mark.parametrize(
    ("name", "kind", "served"),
    [
        ("report.pdf", "application/pdf", "application/pdf"),
        ("page.html", "text/html", "application/octet-stream"),
        ("picture.svg", "image/svg+xml", "application/octet-stream"),
        ("x.xml", "application/xhtml+xml", "application/octet-stream"),
        ("x.js", "text/javascript", "application/octet-stream"),
        ("x", "nonsense", "text/plain"),
        ("x", "x/y\\", "application/octet-stream"),
    ],
)
def test_what_is_attached_is_handed_out_as_a_file(
    shared: World, quick: Browser, name: str, kind: str, served: str
):
    octets = bytes(range(256)) * 1000
    notice = send(shared, *mixed(("", "See this."), attached(name, kind, octets)))
    text = opened(quick, notice)
    assert "See this." in text
    assert f"{name} " in text
    link = next(url for text, url in quick.page.links.items() if text == name)
    got = quick.get(link)
    assert (got.status_int, got.body) == (200, octets)
    assert got.headers["Content-Type"] == served
    assert got.headers["Content-Length"] == str(len(octets))
    assert got.headers["Content-Disposition"].startswith(f'attachment; filename="{name}"')
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert got.headers["Cache-Control"] == "no-store"


def test_no_name_of_an_attachment_makes_a_header_or_a_path(shared: World, quick: Browser):
    name = '../a%0d%0aX: y";\u202egpj.exe'
    head = f"Content-Disposition: attachment; filename*=utf-8''{name.encode().hex()}"
    encoded = "".join(f"%{octet:02x}" for octet in name.encode())
    head = f"Content-Disposition: attachment; filename*=utf-8''{encoded}"
    notice = send(shared, *mixed((head, "x")))
    opened(quick, notice)
    got = quick.get(f"message/{notice.identifier}/part/1")
    assert got.status_int == 200
    assert "X" not in got.headers
    disposition = got.headers["Content-Disposition"]
    assert disposition.isascii()
    assert "/" not in disposition.replace("UTF-8''", "")
    assert disposition.count('"') == 2
    assert "%E2%80%AE" not in disposition


@pytest.mark.parametrize("number", ["0", "3", "x", "-1", "1.0", "9" * 20, "%D9%A1", "1/2", ""])
def test_a_part_that_is_not_there_is_not_found(shared: World, quick: Browser, number: str):
    notice = send(shared, *mixed(("", "one"), attached("x", "text/plain", b"two")))
    assert quick.get(f"message/{notice.identifier}/part/2").status_int == 200
    assert quick.get(f"message/{notice.identifier}/part/{number}").status_int == 404


def test_the_source_is_shown_as_text_and_saved_as_it_is(shared: World, quick: Browser):
    notice = send(shared, "<script>alert(1)</script>", "Content-Type: text/html")
    shown = quick.get(f"message/{notice.identifier}/source")
    assert shown.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert shown.headers["Content-Security-Policy"].startswith("sandbox;")
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    saved = quick.get(f"message/{notice.identifier}/whole")
    assert saved.headers["Content-Type"] == "message/rfc822"
    assert saved.headers["Content-Disposition"].startswith("attachment")
    assert saved.body == shown.body
    assert shown.body.endswith(b"<script>alert(1)</script>")


ALTERNATIVE = (
    "--e\r\nContent-Type: text/plain\r\n\r\nthe plain one\r\n"
    "--e\r\nContent-Type: multipart/related; boundary=f\r\n\r\n"
    "--f\r\nContent-Type: text/html\r\n\r\n<p>the <b>rich</b> one</p>\r\n--f--\r\n"
    "--e\r\nContent-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\n--e--\r\n"
)


def test_of_alternatives_the_html_is_shown_or_the_text_if_asked_for(shared: World, quick: Browser):
    notice = send(shared, ALTERNATIVE, "Content-Type: multipart/alternative; boundary=e")
    text = opened(quick, notice)
    assert "the rich one" in text
    assert "the plain one" not in text
    assert "text/calendar" in text, "what is no text is there beside it"
    quick.get(quick.page.links["Show it as plain text"])
    assert "the plain one" in quick.page.text
    assert "the rich one" not in " ".join(quick.page.text.split())
    assert "Show it with its formatting" in quick.page.links
    got = quick.get(f"message/{notice.identifier}/part/3")
    assert got.body.startswith(b"BEGIN:VCALENDAR")


@pytest.mark.parametrize("ending", ["", "=", "==", "A", "AA=", "AAA"])
@pytest.mark.parametrize("break_", ["\r\n", "\n", " ", "-"])
def test_base64_is_decoded_in_pieces_as_python_decodes_it_whole(
    ending: str, break_: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shown_parts, "PIECE", 7)
    octets = bytes(range(256))
    text = b64encode(octets).decode().rstrip("=")
    lines = break_.join(text[place : place + 60] for place in range(0, len(text), 60))
    body = f"{lines}{ending}".encode()
    message = b"Content-Transfer-Encoding: Base64 \r\n\r\n" + body
    (part,) = shown_parts.parts_of(entity_of(message)).parts
    assert b"".join(shown_parts.octets_of(part)).startswith(octets)


# HTML


def html(source: str, **options: Any) -> str:
    return str(harmless_html.harmless_html(source, 10_000, **options).html)


ALLOWED = {
    **{name: {"dir"} for name in harmless_html._ELEMENTS},
    "a": {"href", "target", "rel"},
    "img": {"src", "alt"},
    "td": {"colspan", "rowspan"},
    "div": {"dir", "class"},
}


class Checker(HTMLParser):
    """Fails for any element or attribute that could do more than be read."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        for name, value in attrs:
            assert name in ALLOWED[tag], (tag, name)
            if name == "href":
                assert value is not None
                assert value.lower().startswith(("http://", "https://", "mailto:"))
            if name == "src":
                assert value is not None
                assert value.startswith("data:image/")
                assert "svg" not in value
            if name == "class":
                assert value in ("mail", "text", "text muted", "text quote")
        if tag == "a":
            assert ("target", "_blank") in attrs
            assert ("rel", "noreferrer noopener nofollow") in attrs
        if tag not in ("br", "hr", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "well-nested, so that nothing reaches beyond it"

    def handle_data(self, data: str) -> None:
        self.text += data

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)


def harmless(octets: bytes) -> str:
    """The text of a message's sections, once these are known to be harmless."""
    shown = shown_message(octets)
    checker = Checker()
    for section in shown.sections:
        checker.feed(section)
    checker.close()
    assert checker.open == []
    return checker.text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mail_is_harmless(name: str):
    text = harmless(HOSTILE[name].encode())
    if name != "bad base64":
        assert "shown" in text
    assert "\u202e" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("name", ["markup in the subject", "markup in From", "markup in the text",
                                  "an attachment's name", "a form", "style"])  # fmt: skip
def test_a_page_of_hostile_mail_has_only_its_own_elements(shared: World, quick: Browser, name: str):
    def elements(notice: Notice) -> set[tuple[str, ...]]:
        opened(quick, notice)
        return {(tag, *sorted(given)) for tag, given in quick.page.elements}

    head, _, body = HOSTILE[name].replace("From: a@a.example\r\n", "").partition("\r\n\r\n")
    fields = {line.partition(":")[0]: line for line in head.split("\r\n")}
    subject = fields.pop("Subject", "Subject: x").partition(": ")[2]
    fields.pop("From", None)
    plain = elements(send(shared, *mixed(("", "x"), attached("x", "x/y", b"x"))))
    hostile = elements(send(shared, body, *fields.values(), subject=subject))
    assert hostile <= plain | {("div", "class", "dir")}


@given(st.binary(max_size=600))
def test_no_octets_make_more_than_harmless_html(octets: bytes):
    harmless(octets)
    harmless(b"Content-Type: text/html\r\n\r\n" + octets)
    harmless(b"Content-Type: multipart/mixed; boundary=e\r\n\r\n--e\r\n" + octets)
    harmless(b"Content-Type: multipart/alternative; boundary=e\r\n\r\n--e\r\n" + octets)
    raw_fields(octets)


PIECES = st.sampled_from(
    ["<p>", "</p>", "<table>", "<tr>", "<td>", "</td>", "</table>", "<a href=http://x/>", "</a>",
     "<b>", "</b>", "<ul>", "<li>", "</ul>", "<blockquote>", "</blockquote>", "<pre>", "</pre>",
     "<img src=cid:a>", "<img src=http://x/ alt='y'>", "<svg>", "<math>", "<style>", "</style>",
     "<script>", "</script>", "<template>", "<select>", "<form>", "<caption>", "<br>", "x", "&amp;",
     "<!--", "-->", "\ue000", "<a href='javascript:x'>", "<details>", "<samp>", "<h1>", "<dl>",
     "<dd>", "<noscript>", "<iframe>", "<textarea>", "<plaintext>", "<base href=//x>", " ", "\n"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map("".join))
def test_no_markup_makes_more_than_harmless_html(source: str):
    checker = Checker()
    checker.feed(html(source, attached=lambda _: PNG))
    checker.close()
    assert checker.open == []


def seconds(octets: bytes) -> float:
    """What a message takes of the processor."""
    return taken(lambda: shown_message(octets))


@cache
def plain_seconds() -> float:
    """The same of one with nothing but text."""
    return seconds(b"Subject: x\r\n\r\n" + b"y" * LONG)


@pytest.mark.parametrize("name", [*SLOW, "entities"])
def test_no_message_takes_more_than_in_proportion_to_its_length(name: str):
    """nh3 alone is quadratic, and takes minutes for some of these."""
    head, piece = SLOW.get(name, (HTML.encode(), b"some twenty characters &amp;"))
    whole = (head + piece * (LONG // len(piece)))[:LONG]
    plain, long = plain_seconds(), seconds(whole)
    assert long < 10 * (seconds(whole[: LONG // 4]) + plain)
    assert long < 25 * plain


def test_elements_are_nested_so_deep_and_are_so_many_at_the_most():
    deep = html("<div>" * 1000 + "x")
    assert deep.count("<div>") == deep.count("</div>") == bounded_html.DEEPEST
    assert "x" in deep
    many = harmless_html.harmless_html("<b>x</b>" * 20_000, 1 << 20)
    assert many.is_cut
    assert many.html.count("<b>") == bounded_html.MOST_TAGS


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("a &lt;b&gt; &amp; c", "a &lt;b&gt; &amp; c"),
        ("<p style='position:fixed' class=top id=main onclick=x()>x", "<p>x</p>"),
        ("<h1>x</h1>", "<h3>x</h3>"),
        ("<td>x</td>", "x"),
        ("<table><td>x", "x<table></table>"),
        ("<ul><li>a<li>b</ul>", "<ul><li>a</li><li>b</li></ul>"),
        ("<p dir=rtl>x<p dir=up>y", '<p dir="rtl">x</p><p>y</p>'),
        ("a < b", "a &lt; b"),
        ("<b>a</p>b", "<b>ab</b>"),
        ("\ue001script\ue002", "\ufffdscript\ufffd"),
        ("<img src='http://x/y.png' alt='a cat'>", "[a cat]"),
        ("<img src='data:image/svg+xml;base64,AAAA'>", ""),
        ("<img src='data:text/html;base64,AAAA'>", ""),
        ("<a href='data:text/html,x'>x</a>", "x"),
        ("<a href='JavaScript:x'>x</a>", "x"),
        ("<a href=' java\nscript:x'>x</a>", "x"),
        ("<a href='java&#x200b;script:x'>x</a>", "x"),
        ("<a href='/xhmtp/bob@b.example/logout'>x</a>", "x"),
        ("<a href='//evil.example/'>x</a>", "x"),
        ("<samp>bank.example</samp>", "bank.example"),
        ("<details><summary>x</summary>y</details>", "xy"),
    ],
)
def test_html_as_it_is_shown(source: str, shown: str):
    assert html(source) == shown


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("http://evil.example/a?b", "evil.example"),
        ("HTTPS://EVIL.example/", "evil.example"),
        ("http://bank.example@evil.example/", "evil.example"),
        ("http://bänk.example/", "xn--bnk-qla.example"),
        ("mailto:eve@evil.example", "eve@evil.example"),
    ],
)
def test_a_link_tells_where_it_leads(address: str, host: str):
    shown = html(f"<a href='{address}'>https://bank.example/</a>")
    assert shown.startswith('<a href="')
    assert 'target="_blank" rel="noreferrer noopener nofollow"' in shown
    assert shown.endswith(f">https://bank.example/</a> <samp>{host}</samp>")
    assert f">{host}</a> <samp>{host}</samp>" in html(f"<a href='{address}'></a>"), "it has words"


def test_pictures_from_elsewhere_are_counted_and_those_within_are_shown(
    shared: World, quick: Browser
):
    source = (
        "<img src='http://x.example/pixel.gif'><img src=//y.example/z alt=logo><img src='cid:one'>"
        "<img src='cid:two'>"
    )
    head = "Content-Type: image/png\r\nContent-ID: <one>\r\nContent-Transfer-Encoding: base64"
    body = mixed(("Content-Type: text/html", source), (head, b64encode(PNG).decode()))
    text = opened(quick, send(shared, *body))
    assert "3 pictures would have been loaded from elsewhere" in text
    assert "[logo]" in text
    sources = [given["src"] for tag, given in quick.page.elements if tag == "img"]
    assert sources == [f"data:image/png;base64,{b64encode(PNG).decode()}"]
    assert "Attached" not in text, "it is in the text"


def test_what_is_no_picture_is_not_shown_as_one():
    for octets in (b"<svg onload=x()>", b"", b"RIFFxxxxWAVE", PNG + bytes(2 << 20)):
        assert html("<img src=cid:x>", attached=lambda _, octets=octets: octets) == ""


@pytest.mark.parametrize("kind", ["text/plain", "text/html"])
@pytest.mark.parametrize("long", [600 << 10, 3 << 20])
def test_that_there_is_more_text_is_told_and_what_follows_is_listed(kind: str, long: int):
    body, field = mixed(
        (f"Content-Type: {kind}", "yes " * (long // 4)),
        ("", "more"),
        attached("x.pdf", "x/y", b"z"),
    )
    shown = shown_message(f"{field}\r\n\r\n{body}".encode())
    assert any("more text than is shown" in note for note in shown.notes)
    assert [one.name for one in shown.attached] == ["x.pdf"]
    assert sum(map(len, shown.sections)) < 600 << 10
    short = shown_message(b"Content-Type: text/html\r\n\r\nx")
    assert short.notes == ()


def test_a_large_picture_in_the_text_leaves_room_for_text():
    source = f"<img src='data:image/png;base64,{b64encode(PNG + bytes(700_000)).decode()}'>"
    shown = shown_message(
        "{1}\r\n\r\n{0}".format(*mixed(("Content-Type: text/html", source), ("", "after"))).encode()
    )
    assert "after" in shown.sections[1]
    assert shown.notes == ()


def test_where_nh3_cannot_be_loaded_the_text_is_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "nh3", None)
    octets = HTML.encode() + b"<p onclick=x()>Dear <a href=http://e.example/>Bob</a></p>"
    shown = shown_message(octets)
    assert [str(one) for one in shown.sections] == [
        '<div class="text" dir="auto">Dear Bob &lt;'
        '<a href="http://e.example/" target="_blank" rel="noreferrer noopener nofollow">'
        "http://e.example/</a>&gt;</div>"
    ]


# Plain text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>", "&lt;b&gt;"),
        ("see http://x.example/a?b=1&c.", 'see <a href="http://x.example/a?b=1&amp;c" '),
        ("(https://x.example/)", '(<a href="https://x.example/" '),
        ("http://bank.example@evil.example/", 'auto">http://bank.example@evil.example/</div>'),
        ("http://bänk.example/", 'auto">http://bänk.example/</div>'),
        ("javascript:alert(1)", ">javascript:alert(1)<"),
        ('http://x.example/"onclick="x', '" target="_blank" rel="noreferrer noopener nofollow">'),
    ],
)
def test_plain_text_as_it_is_shown(text: str, shown: str):
    found = str(text_as_html(text))
    assert shown in found
    checker = Checker()
    checker.feed(found)
    assert checker.text == text


def test_what_is_quoted_is_folded_away_unless_it_is_short_or_all():
    long = "\n".join(f"> line {number}" for number in range(5))
    assert "<summary>Quoted text, 5 lines</summary>" in text_as_html(f"Yes.\n{long}\nNo.")
    assert "<details>" not in text_as_html("Yes.\n> one\n> two\nNo.")
    assert "<details>" not in text_as_html(long), "there is nothing else to read"
    assert '<div class="text muted" dir="auto">-- \nAlice</div>' in text_as_html("Hi\n-- \nAlice")


@pytest.fixture(autouse=True)
def _turns_are_free() -> Iterator[None]:
    yield
    assert opening._turns._taken == 0
