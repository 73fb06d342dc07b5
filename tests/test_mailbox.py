"""The mailbox as its owner works with it: folders, flags, conversations, copies, search."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import ALICE, BOB, World
from xhmtp_wsgi import search
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Malformed, NotFound
from xhmtp_wsgi.protocol.conversation import thread_of
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox, kept_copies, mailbox
from xhmtp_wsgi.recipient import indexing as received
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.mailbox import ARCHIVE, INBOX, TRASH, Wanted
from xhmtp_wsgi.recipient.tables import notices
from xhmtp_wsgi.recipient.verdict import Check
from xhmtp_wsgi.sender import drafts, outbox
from xhmtp_wsgi.sender import indexing as sent
from xhmtp_wsgi.sender.drafts import DraftFields
from xhmtp_wsgi.sender.tables import messages

CHERYL = Endpoint.parse("cheryl@b.example")


def send(world: World, subject: str, *lines: str, to: Endpoint = BOB) -> None:
    extra = "".join(f"{line}\r\n" for line in lines)
    world.inject(
        f"From: alice@a.example\r\nTo: {to}\r\nSubject: {subject}\r\n{extra}\r\nx".encode()
    )
    world.notify()


def database(world: World) -> Database:
    return world.b.agent.database


def subjects(notices: list[Notice]) -> list[str]:
    from xhmtp_wsgi.recipient.notice_text import fields_of

    return [fields_of(one)["subject"] for one in notices]


def all_of(world: World, wanted: Wanted | None = None) -> list[Notice]:
    return mailbox.listed(database(world), BOB, wanted or Wanted(), limit=100)


def test_what_came_is_listed_newest_first_and_in_pages(world: World):
    for number in range(5):
        send(world, f"m{number}")
    first = mailbox.listed(database(world), BOB, Wanted(), limit=2)
    assert subjects(first) == ["m4", "m3"]
    more = mailbox.listed(database(world), BOB, Wanted(), limit=9, before=first[-1].position)
    assert subjects(more) == ["m2", "m1", "m0"]
    assert mailbox.listed(database(world), CHERYL, Wanted(), limit=9) == []


def test_seen_and_starred_are_kept_and_taken_back(world: World):
    send(world, "one")
    send(world, "two")
    one, now = all_of(world)[1].identifier, 1000.0
    assert mailbox.set_seen(database(world), BOB, [one], now, seen=True) == 1
    assert mailbox.set_seen(database(world), BOB, [one], now + 5, seen=True) == 1
    assert mailbox.find(database(world), BOB, one).seen_at == now, "when it was first seen"
    assert subjects(all_of(world, Wanted(unseen=True))) == ["two"]
    mailbox.set_starred(database(world), BOB, [one], now, starred=True)
    assert subjects(all_of(world, Wanted(starred=True))) == ["one"]
    mailbox.set_seen(database(world), BOB, [one], now, seen=False)
    mailbox.set_starred(database(world), BOB, [one], now, starred=False)
    assert subjects(all_of(world, Wanted(unseen=True))) == ["two", "one"]
    assert all_of(world, Wanted(starred=True)) == []


def test_nobody_changes_what_is_anothers(world: World):
    send(world, "bob's")
    (notice,) = all_of(world)
    theirs = [notice.identifier]
    assert mailbox.set_seen(database(world), CHERYL, theirs, 1.0, seen=True) == 0
    assert mailbox.move(database(world), CHERYL, theirs, TRASH) == 0
    assert mailbox.delete(database(world), CHERYL, theirs, 1.0) == 0
    with pytest.raises(NotFound):
        mailbox.find(database(world), CHERYL, notice.identifier)
    assert all_of(world) == [notice]


def test_notices_are_moved_between_folders(world: World):
    for subject in ("a", "b", "c"):
        send(world, subject)
    newest, middle, _ = (one.identifier for one in all_of(world))
    mailbox.move(database(world), BOB, [newest], ARCHIVE)
    mailbox.move(database(world), BOB, [middle], " Straße 7 ")
    assert subjects(all_of(world)) == ["a"]
    assert subjects(all_of(world, Wanted(folder="Straße 7"))) == ["b"]
    assert [(one.name, one.unseen) for one in mailbox.folders(database(world), BOB)] == [
        (INBOX, 1), (ARCHIVE, 1), (TRASH, 0), ("Straße 7", 1),
    ]  # fmt: skip
    assert subjects(all_of(world, Wanted(folder=None))) == ["c", "b", "a"]
    mailbox.move(database(world), BOB, [newest], TRASH)
    assert subjects(all_of(world, Wanted(folder=None))) == ["b", "a"]
    for name in ("", "a/b", "x" * 61, "a\nb"):
        with pytest.raises(Malformed):
            mailbox.move(database(world), BOB, [newest], name)


def test_what_is_deleted_is_gone_everywhere_and_does_not_come_back(world: World):
    send(world, "gone", "Message-ID: <gone@a.example>")
    (notice,) = all_of(world)
    kept_copies.keep(database(world), notice.identifier, b"octets", (), 1.0)
    before = inbox.state(database(world), BOB).version
    assert mailbox.delete(database(world), BOB, [notice.identifier], world.clock.now) == 1
    assert all_of(world, Wanted(folder=None)) == []
    assert search.find(database(world), BOB, "gone", limit=9) == []
    assert kept_copies.kept(database(world), notice.identifier) is None
    assert inbox.state(database(world), BOB).version > before, "the feed has changed"
    assert "gone" not in world.feed().text
    # The sender tells it once more, as one who is not sure may.
    from sqlalchemy import update

    from xhmtp_wsgi.sender.tables import deliveries

    repeated = notice.url
    assert repeated.startswith("http")
    with world.a.agent.database.transaction() as connection:
        connection.execute(
            update(deliveries).values(
                state="queued", next_try_at=0.0, code=repeated.split(":")[2].partition("@")[0]
            )
        )
    assert world.notify().notified == 1
    assert all_of(world, Wanted(folder=None)) == []


def test_a_conversation_is_found_by_references_and_by_what_is_answered(world: World):
    send(world, "first", "Message-ID: <1@a.example>")
    send(world, "Re: first", "Message-ID: <2@a.example>", "In-Reply-To: <1@a.example>",
         "References: <1@a.example>")  # fmt: skip
    send(world, "no references", "Message-ID: <3@a.example>", "In-Reply-To: <2@a.example>")
    send(world, "another", "Message-ID: <4@a.example>")
    threads = {one.thread for one in all_of(world)[1:]}
    assert len(threads) == 1
    thread = threads.pop() or ""
    found = mailbox.conversation(database(world), BOB, thread, 100)
    assert subjects(found) == ["first", "Re: first", "no references"]
    sent = outbox.conversation(world.a.agent.database, ALICE, thread, 100)
    assert len(sent) == 2, "alice's side goes by the header alone"


def test_the_name_of_a_conversation_is_not_taken_from_the_mailbox_of_another(world: World):
    world.b.agent.accounts.add(CHERYL, "crow")
    send(world, "first", "Message-ID: <1@a.example>")
    send(world, "to bob alone", "Message-ID: <2@a.example>", "References: <1@a.example>")
    send(world, "answers what cheryl never had", "In-Reply-To: <2@a.example>", to=CHERYL)
    (bobs,) = {one.thread for one in all_of(world)}
    (hers,) = mailbox.listed(database(world), CHERYL, Wanted(), limit=9)
    assert hers.thread == thread_of({"in-reply-to": "<2@a.example>"})
    assert hers.thread != bobs, "she would learn that they belong together"
    assert subjects(mailbox.conversation(database(world), CHERYL, bobs or "", 9)) == []


def test_a_copy_is_kept_octet_by_octet_with_what_was_checked(world: World):
    send(world, "kept")
    (notice,) = all_of(world)
    octets = bytes(range(256)) * 3000
    checks = (Check("digest", "pass", "it is the message"),)
    kept_copies.keep(database(world), notice.identifier, b"first", (), 1.0)
    kept_copies.keep(database(world), notice.identifier, octets, checks, 2.0)
    assert kept_copies.kept(database(world), notice.identifier) == (octets, checks)


# Search


def found(world: World, query: str, owner: Endpoint = BOB) -> list[str]:
    hits = search.find(database(world), owner, query, limit=50)
    by_identifier = {
        one.identifier: one
        for one in mailbox.several(database(world), owner, [hit.item for hit in hits])
    }
    return subjects([by_identifier[hit.item] for hit in hits if hit.item in by_identifier])


def test_words_are_found_by_their_beginning_without_case_or_accents(world: World):
    send(world, "Grüße aus Köln")
    send(world, "The quarterly report")
    send(world, "Отчёт за март")
    assert found(world, "grusse koln") == ["Grüße aus Köln"]
    assert found(world, "KÖLN") == ["Grüße aus Köln"]
    assert found(world, "quart rep") == ["The quarterly report"]
    assert found(world, '"quarterly report"') == ["The quarterly report"]
    assert found(world, '"report quarterly"') == []
    assert found(world, "отчет") == ["Отчёт за март"]
    assert found(world, "alice") == ["Отчёт за март", "The quarterly report", "Grüße aus Köln"]
    assert found(world, "nothing") == []


@pytest.mark.parametrize("query", ["", "  ", '"', "*", "()", "'", "\\", "\0"])
def test_a_query_without_words_finds_nothing(world: World, query: str):
    send(world, "x")
    assert found(world, query) == []


@pytest.mark.parametrize(
    "query", ['a" OR "b', "words : x", "owner*", "=owner", "NEAR(a b)", "x & !y | z", "a:*b", "a'b"]
)
def test_the_index_has_no_language_that_a_query_could_speak(world: World, query: str):
    send(world, "x")
    assert found(world, query) == []


def test_nobody_finds_what_is_anothers(world: World):
    send(world, "secret")
    assert found(world, "secret", CHERYL) == []
    # The index itself: what a mailbox would hide would still be counted, and tell of the word.
    assert search.find(database(world), CHERYL, "secret", limit=9) == []
    assert {hit.kind for hit in search.find(database(world), BOB, "secret", limit=9)} == {"notice"}
    from xhmtp_wsgi.search import _token

    assert found(world, _token(str(BOB)), CHERYL) == []


@pytest.fixture(scope="module")
def anything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path_factory.mktemp('search')}/x.db")
    yield opened
    opened.close()


@given(words=st.text(max_size=200), query=st.text(max_size=100))
def test_any_text_can_be_indexed_and_any_query_asked(anything: Database, words: str, query: str):
    opened = anything
    with opened.transaction() as connection:
        search.put(connection, BOB, "notice", "one", words)
        search.put(connection, BOB, "notice", "one", words + " again")
    assert {hit.item for hit in search.find(opened, BOB, query, limit=5)} <= {"one"}
    for word in search.plain(words).split()[:3]:
        assert [hit.item for hit in search.find(opened, BOB, word, limit=5)] == ["one"]


# Drafts


def test_a_draft_is_kept_changed_and_thrown_away(world: World):
    opened = world.a.agent.database
    identifier = drafts.save(opened, ALICE, DraftFields(to="bob", text="Dear"), 1.0)
    drafts.save(opened, ALICE, DraftFields(to="bob@b.example", text="Dear Bob"), 2.0, identifier)
    first = drafts.attach(opened, ALICE, identifier, "a.txt", "text/plain", b"a")
    second = drafts.attach(opened, ALICE, identifier, "b.bin", "application/x", bytes(70_000))
    draft = drafts.find(opened, ALICE, identifier)
    assert (draft.fields.to, draft.fields.text) == ("bob@b.example", "Dear Bob")
    assert [(one.name, one.size) for one in draft.attachments] == [("a.txt", 1), ("b.bin", 70_000)]
    assert drafts.octets_of(opened, draft.attachments) == {first: b"a", second: bytes(70_000)}
    drafts.detach(opened, ALICE, identifier, first)
    assert [one.identifier for one in drafts.listed(opened, ALICE)] == [identifier]
    for other in (CHERYL, BOB):
        with pytest.raises(NotFound):
            drafts.find(opened, other, identifier)
        with pytest.raises(NotFound):
            drafts.delete(opened, other, identifier)
    drafts.delete(opened, ALICE, identifier)
    assert drafts.listed(opened, ALICE) == []


# What was there before there were words and conversations


def test_old_messages_are_found_and_in_conversations_after_an_upgrade(world: World):
    send(world, "a kangaroo", "Message-ID: <1@a.example>")
    send(world, "Re: a kangaroo", "Message-ID: <2@a.example>", "References: <1@a.example>")
    for agent in (world.a.agent, world.b.agent):
        with agent.database.transaction() as connection:
            connection.execute(notices.update().values(thread=None, message_id=None))
            connection.execute(messages.update().values(thread=None))
            for owner in (ALICE, BOB):
                search.forget(connection, owner)
    assert found(world, "kangaroo") == []
    assert received.index_missing(database(world)) == 2
    assert sent.index_missing(world.a.agent.database) == 2
    assert sorted(found(world, "kangaroo")) == ["Re: a kangaroo", "a kangaroo"]
    thread = all_of(world)[0].thread or ""
    assert subjects(mailbox.conversation(database(world), BOB, thread, 9)) == [
        "a kangaroo", "Re: a kangaroo",
    ]  # fmt: skip
    assert len(outbox.conversation(world.a.agent.database, ALICE, thread, 9)) == 2
    hits = search.find(world.a.agent.database, ALICE, "kangaroo", limit=9)
    assert {hit.kind for hit in hits} == {"sent"}
    assert len(hits) == 2
    assert received.index_missing(database(world)) == 0
    assert sent.index_missing(world.a.agent.database) == 0
