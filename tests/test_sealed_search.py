"""Search and conversations over sealed messages: where their owner's key is unlocked, only there.

And what the database knows of them: nothing (issue 7, "Must show" 2, on bob's side).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text

from tests.fakes.browser import Browser
from tests.test_message_pages import choose, newest, opened, send, switch_on
from tests.test_pages import listed
from tests.test_sealed_pages import (
    HOME,
    KEY,
    OTHER,
    PASSWORD,
    hold,
    inside,
    send_sealed,
    text_of,
    unlock,
)
from tests.world import BOB, World, make_world
from xhmtp_wsgi import search
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Identity
from xhmtp_wsgi.recipient import held_keys, inbox, mailbox, sealed_extracts
from xhmtp_wsgi.recipient.sealed_extracts import HEAD, Inside
from xhmtp_wsgi.secret_box import OVERHEAD

CHERYL = Endpoint.parse("cheryl@b.example")


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_keys, "WORK_FACTOR", 10)


@pytest.fixture
def bob(world: World) -> Browser:
    """bob's browser, in which he has logged in; his agent fetches, and holds his key."""
    switch_on(world)
    hold(world)
    browser = Browser(world.b, HOME)
    browser.log_in(PASSWORD)
    return browser


def found(browser: Browser, query: str) -> list[str]:
    """The subjects that a search shows."""
    browser.get(f"search?q={query}")
    assert browser.answer.status_int == 200
    return listed(browser)


def receive(
    world: World, browser: Browser, number: int, subject: str, body: str, *more: str
) -> None:
    """A sealed message comes, and is opened."""
    message = inside(number, body, *more, subject=subject)
    opened(browser, send_sealed(world, message, number=number))


# Search


def test_what_was_opened_is_found_by_its_words_where_it_is_unlocked(world: World, bob: Browser):
    unlock(bob)
    receive(world, bob, 1, "the lamplighter", "Meet at the viaduct, Café Quarré.")
    receive(world, bob, 2, "another", "Nothing of the kind.")
    for query in ("viaduct", "VIADUCT", "viad", "the+lamplighter+viaduct", "cafe+quarre", "liddell",
                  "%22at+the+viaduct%22", "%22at+the+via", "cheryl@b.example"):  # fmt: skip
        assert "the lamplighter" in found(bob, query), query
    for query in ("iaduct", "viaduct+nothing", "%22viaduct+the%22", "%22Meet+the%22", "..", ""):
        assert found(bob, query) == [], query
    bob.submit("unlock", ("do", "lock"))
    assert found(bob, "viaduct") == []
    assert found(bob, "lamplighter") == []
    assert found(bob, "alice") == ["Sealed message", "Sealed message"], "whom the notice names"


def test_both_kinds_are_found_together_newest_first_each_once_in_pages(world: World, bob: Browser):
    settings = replace(world.b.agent.settings, page_size=2)
    world.b.agent = world.b.wing._agent = replace(world.b.agent, settings=settings)
    unlock(bob)
    for number in range(1, 6):
        if number % 2:
            receive(world, bob, number, f"sealed viaduct {number}", "from alice")
        else:
            send(world, subject=f"open viaduct {number}")
    assert found(bob, "viaduct+alice") == ["sealed viaduct 5", "open viaduct 4"]
    bob.get(bob.page.links["Older"])
    assert listed(bob) == ["sealed viaduct 3", "open viaduct 2"]
    bob.get(bob.page.links["Older"])
    assert listed(bob) == ["sealed viaduct 1"]
    assert "Older" not in bob.page.links


def test_what_was_not_opened_is_not_found(world: World, bob: Browser):
    unlock(bob)
    send_sealed(world, inside())
    assert found(bob, "viaduct") == []


def test_what_is_deleted_is_found_no_more(world: World, bob: Browser):
    unlock(bob)
    receive(world, bob, 1, "the lamplighter", "Meet at the viaduct.")
    assert found(bob, "viaduct") == ["the lamplighter"]
    notice = newest(world)
    database = world.b.agent.database
    mailbox.delete(database, BOB, [notice.identifier], world.clock())
    assert found(bob, "viaduct") == []
    with database.reading() as connection:
        assert connection.execute(select(sealed_extracts.sealed_extracts)).all() == []


def test_nobody_finds_what_anothers_key_has_opened(world: World, bob: Browser):
    unlock(bob)
    receive(world, bob, 1, "the lamplighter", "Meet at the viaduct.")
    database = world.b.agent.database
    notice = newest(world)
    assert sealed_extracts.find(database, BOB, [OTHER], "viaduct", limit=9) == []
    assert sealed_extracts.find(database, BOB, [], "viaduct", limit=9) == []
    assert sealed_extracts.find(database, CHERYL, [KEY], "viaduct", limit=9) == []
    assert sealed_extracts.insides(database, [OTHER], [notice.identifier]) == {}
    (hit,) = sealed_extracts.find(database, BOB, [OTHER, KEY], "viaduct", limit=9)
    assert (hit.kind, hit.item) == (inbox.SEARCH_KIND, notice.identifier)


def test_a_search_looks_through_so_many_and_no_more(
    world: World, bob: Browser, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sealed_extracts, "BATCH", 2)
    unlock(bob)
    for number in range(1, 6):
        receive(world, bob, number, f"number {number}", "viaduct")
    assert found(bob, "viaduct") == [f"number {number}" for number in (5, 4, 3, 2, 1)]
    monkeypatch.setattr(sealed_extracts, "MOST_LOOKED_THROUGH", 3)
    assert found(bob, "viaduct") == ["number 5", "number 4", "number 3"]


WORDS = st.lists(
    st.sampled_from(["viaduct", "via", "ducts", "Café", "a", "1st", "naïve"]), max_size=6
)
SEPARATORS = st.sampled_from([" ", ", ", "-", "_", "\n", "/"])


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    directory = tmp_path_factory.mktemp("index")
    with make_world(directory, f"sqlite:///{directory}/a.db") as made:
        yield made.b.agent.database


@given(WORDS, SEPARATORS, WORDS, st.booleans())
def test_the_same_queries_find_the_same_as_in_the_index(
    index: Database, words: list[str], between: str, asked: list[str], together: bool
):
    entry = between.join(words)
    query = f'"{" ".join(asked)}"' if together else " ".join(asked)
    with index.transaction() as connection:
        search.put(connection, BOB, "notice", "it", entry)
    matcher = search.matcher(query)
    is_found = matcher is not None and matcher(search.plain(entry))
    assert is_found == bool(search.find(index, BOB, query, limit=1))


# Conversations


def conversation(browser: Browser) -> list[str]:
    """The subjects around the message that is shown."""
    parts = re.findall(r'<nav class="talk".*?</nav>', browser.answer.text, re.DOTALL)
    return [one for part in parts for one in re.findall(r'class="subject" dir="auto">(.*?)<', part)]


def test_a_conversation_joins_what_is_sealed_where_it_is_unlocked(world: World, bob: Browser):
    unlock(bob)
    first = send(world, "In the open", "Message-ID: <m1@a.example>", subject="first")
    receive(world, bob, 2, "second", "sealed", "References: <m1@a.example>",
            "In-Reply-To: <m1@a.example>")  # fmt: skip
    second = newest(world)
    receive(world, bob, 3, "third", "sealed", "References: <m1@a.example> <m2@a.example>")
    receive(world, bob, 4, "fourth", "sealed", "In-Reply-To: <m3@a.example>")
    fourth = newest(world)
    receive(world, bob, 5, "elsewhere", "sealed")
    opened(bob, first)
    assert conversation(bob) == ["second", "third", "fourth"]
    opened(bob, second)
    assert conversation(bob) == ["first", "third", "fourth"]
    opened(bob, fourth)
    assert conversation(bob) == ["first", "second", "third"]
    bob.submit("unlock", ("do", "lock"))
    for notice in (first, second, fourth):
        opened(bob, notice)
        assert conversation(bob) == []


def test_what_is_in_the_trash_is_in_no_conversation(world: World, bob: Browser):
    unlock(bob)
    first = send(world, "In the open", "Message-ID: <m1@a.example>", subject="first")
    receive(world, bob, 2, "second", "sealed", "References: <m1@a.example>")
    mailbox.move(world.b.agent.database, BOB, [newest(world).identifier], mailbox.TRASH)
    opened(bob, first)
    assert conversation(bob) == []


# What the database knows


def test_an_extract_tells_the_length_of_the_text_and_nothing_of_the_subject(world: World):
    notices = [send_sealed(world, inside(number), number=number) for number in (1, 2, 3)]
    database = world.b.agent.database
    for notice, subject in zip(notices, ("", "short", "ß" * 4000), strict=True):
        sealed_extracts.note(
            database, notice.identifier, Inside(subject, "Alice", "0" * 32), "words", KEY, 1.0
        )
    with database.reading() as connection:
        kept = connection.execute(select(sealed_extracts.sealed_extracts.c.octets)).scalars().all()
    assert {len(octets) for octets in kept} == {HEAD + len(b"words") + 2 * OVERHEAD}
    told = sealed_extracts.insides(database, [KEY], [one.identifier for one in notices])
    assert told[notices[1].identifier] == Inside("short", "Alice", "0" * 32)
    assert set(told[notices[2].identifier].subject) == {"ß"}, "cut, and between two characters"


def test_an_extract_put_in_anothers_place_opens_nothing(world: World):
    one, other = (send_sealed(world, inside(number), number=number) for number in (1, 2))
    database = world.b.agent.database
    sealed_extracts.note(database, one.identifier, Inside("a", "b", "c"), "viaduct", KEY, 1.0)
    with database.transaction() as connection:
        connection.execute(sealed_extracts.sealed_extracts.update().values(notice=other.identifier))
    assert sealed_extracts.insides(database, [KEY], [other.identifier]) == {}
    assert sealed_extracts.find(database, BOB, [KEY], "viaduct", limit=9) == []


def test_a_message_that_is_deleted_meanwhile_leaves_no_extract(world: World):
    sealed_extracts.note(world.b.agent.database, "gone", Inside("a", "b", "c"), "viaduct", KEY, 1.0)


def dump(world: World, directory: Path) -> bytes:
    """All that both agents keep: the files of the databases, or every row of PostgreSQL's."""
    if world.b.agent.database.is_sqlite:
        files = sorted(one for one in directory.rglob("*") if one.is_file())
        assert {one.name for one in files} >= {"b.db", "b.db-wal"}
        return b"\n".join(one.read_bytes() for one in files)
    url = str(world.b.agent.database._url.render_as_string(hide_password=False))
    kept = []
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        assert len(tables) > 20
        for (name,) in tables:
            for row in connection.execute(f'SELECT * FROM "{name}"'.encode()).fetchall():
                kept += [
                    bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                    for value in row
                ]
    return b"\n".join(kept)


SECRETS = (
    "viaduct", "lamplighter", "Liddell", "quarry", "plan of the works", "m0@a.example",
    "carpenter of boats",
)  # fmt: skip


def leaks(octets: bytes, identities: Sequence[Identity]) -> list[str]:
    """What of the message, of keys and of passwords stands in these octets, in any case."""
    lowered = octets.lower()
    wrong = [word for word in SECRETS if word.lower().encode() in lowered]
    for identity in identities:
        for form in (
            identity.secret,
            identity.secret.hex().encode(),
            identity.text().lower().encode(),
        ):
            if form in octets or form in lowered:
                wrong.append("a secret key")
    return wrong


def test_a_dump_of_the_database_has_no_word_of_it_whatever_bob_does(world: World, tmp_path: Path):
    """Issue 7, "Must show" 2: with his agent holding the key, none without his password."""
    password = "carpenter of boats"
    database = world.b.agent.database
    world.b.agent.accounts.set_password(BOB, password)
    switch_on(world)
    choose(world, "always")
    bob = Browser(world.b, HOME)
    bob.log_in(password)
    bob.get("settings/sealing")
    bob.submit("settings/sealing", ("do", "give"), identity=KEY.text(), password=password)
    bob.get("settings/sealing")
    bob.submit("settings/sealing", ("do", "make"), password=password, replace="yes")
    made = Identity.parse(re.findall(r"AGE-SECRET-KEY-1\w+", bob.answer.text)[0])
    bob.submit("logout")
    assert leaks(dump(world, tmp_path), [KEY, made]) == []

    body = (
        "--edge\r\nContent-Type: text/plain\r\n\r\nMeet at the viaduct.\r\n--edge\r\nContent-Type: "
        'text/plain\r\nContent-Disposition: attachment; filename="plan.txt"\r\n\r\nThe plan of the '
        "works.\r\n--edge--"
    )
    lines = (
        'Content-Type: multipart/mixed; boundary="edge"', "References: <m0@a.example>",
        "In-Reply-To: <m0@a.example>",
    )  # fmt: skip
    notice = send_sealed(world, inside(1, body, *lines))
    bob.log_in(password)
    unlock(bob, f"message/{notice.identifier}", password)
    assert "viaduct" in bob.page.text
    assert "a copy is kept here from now on, sealed as it came" in text_of(bob)
    for path in ("part/2", "source", "whole", "sealed"):
        bob.get(f"message/{notice.identifier}/{path}")
    assert found(bob, "viaduct") == ["the lamplighter"]
    for button in ("reply-all", "forward"):
        opened(bob, notice)
        bob.submit(f"message/{notice.identifier}", ("do", button))
        action = bob.page.forms[-1].action
        bob.submit(action, ("do", "save"), text="At the quarry instead.")
    opened(bob, notice)
    bob.submit(f"message/{notice.identifier}", ("do", "star"))
    bob.submit("change", ("do", "archive"))
    bob.get("settings/password")
    assert leaks(dump(world, tmp_path), [KEY, made]) == [], "while it is unlocked"

    bob.submit("logout")
    octets = dump(world, tmp_path)
    assert leaks(octets, [KEY, made]) == [], "after he has logged out"
    # And the search of the dump would have found what is not sealed.
    send(world, "The plain viaduct.")
    assert leaks(dump(world, tmp_path), []) == ["viaduct"]
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM sealed_extract")).scalar() == 1
        assert connection.execute(text("SELECT count(*) FROM draft")).scalar() == 2
