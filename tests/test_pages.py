"""The pages that list: what bob has got, folder by folder, and what he does with it."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.browser import Browser
from tests.world import BOB, World, basic
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import filters, mailbox
from xhmtp_wsgi.recipient import tables as inbox_tables
from xhmtp_wsgi.recipient.filters import Action
from xhmtp_wsgi.recipient.mailbox import ARCHIVE, INBOX, TRASH, Wanted
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.recipient.verdict import FAIL, NONE, PASS

HOME = "/in/box/bob%40b.example/"


@pytest.fixture
def bob(sqlite_world: World) -> Browser:
    """bob's browser, in which he has logged in."""
    return logged_in(sqlite_world)


def logged_in(world: World) -> Browser:
    browser = Browser(world.b, HOME)
    browser.headers["Authorization"] = basic("bob@b.example", "builder")
    return browser


def send(world: World, *subjects: str, sender: str = "Alice <alice@a.example>") -> None:
    """alice writes to bob."""
    for subject in subjects:
        world.inject(f"From: {sender}\r\nTo: bob@b.example\r\nSubject: {subject}\r\n\r\nx".encode())
        world.notify()


def listed(browser: Browser) -> list[str]:
    """The subjects in the list that is shown."""
    found = re.findall(r'<span class="subject" dir="auto">(.*?)</span>', browser.answer.text)
    return [str(one) for one in found]


def identifiers(browser: Browser) -> dict[str, str]:
    """What stands for each message in the list's form, by subject."""
    boxes = [
        given["value"] for tag, given in browser.page.elements if given.get("name") == "notice"
    ]
    return dict(zip(listed(browser), boxes, strict=True))


def subjects(world: World, folder: str | None, **wanted: Any) -> list[str]:
    """What is in a folder of bob's."""
    found = mailbox.listed(world.b.agent.database, BOB, Wanted(folder, **wanted), limit=100)
    return [fields_of(notice)["subject"] for notice in found]


# Lists


def test_the_inbox_shows_what_came_newest_first(world: World):
    send(world, "one", "two")
    bob = logged_in(world)
    assert bob.get("inbox").status_int == 200
    assert listed(bob) == ["two", "one"]
    text = " ".join(bob.page.text.split())
    assert "Alice alice@a.example Not read: two" in text
    assert '<time datetime="2027-01-15T08:00:00Z">15 Jan 2027, 08:00 UTC</time>' in bob.answer.text
    assert "sent by the server of a.example" in text
    assert "Inbox 2 not read" in text
    (link,) = [url for name, url in bob.page.links.items() if "one" in name]
    assert link.startswith(HOME + "message/")


def test_a_long_list_goes_on(world: World):
    world.b.wing._agent = replace(
        world.b.agent, settings=replace(world.b.agent.settings, page_size=2)
    )
    send(world, *(f"m{number}" for number in range(5)))
    bob = logged_in(world)
    bob.get("inbox")
    assert listed(bob) == ["m4", "m3"]
    assert "To the newest" not in bob.page.links
    bob.get(bob.page.links["Older"])
    assert listed(bob) == ["m2", "m1"]
    bob.get(bob.page.links["Older"])
    assert listed(bob) == ["m0"]
    assert "Older" not in bob.page.links
    bob.get(bob.page.links["To the newest"])
    assert listed(bob) == ["m4", "m3"]


def test_a_place_that_is_none_is_the_beginning(sqlite_world: World, bob: Browser):
    send(sqlite_world, "one")
    for before in ("x", "-1", "1e9", "9" * 30, "%D9%A1", ""):
        assert bob.get(f"inbox?before={before}").status_int == 200
        assert listed(bob) == ["one"]


def test_several_are_chosen_and_changed_at_once(world: World):
    send(world, *"abcdefgh")
    bob = logged_in(world)

    def change(button: str, *chosen: str, **typed: str) -> str:
        known = identifiers(bob)
        bob.submit("change", ("do", button), notice=[known[one] for one in chosen], **typed)
        return bob.page.text

    bob.get("inbox")
    assert "Moved to the archive" in change("archive", "a", "b")
    assert bob.path.startswith(HOME + "inbox?"), "the list is shown again"
    assert subjects(world, ARCHIVE) == ["b", "a"]
    assert "Moved to the trash" in change("trash", "c")
    assert subjects(world, TRASH) == ["c"]
    assert "Marked as read" in change("seen", "d", "e")
    assert subjects(world, INBOX, unseen=True) == ["h", "g", "f"]
    assert "Marked as not read" in change("unseen", "d")
    assert subjects(world, INBOX, unseen=True) == ["h", "g", "f", "d"]
    assert "Moved." in change("move", "f", folder="Friends & family")
    assert subjects(world, "Friends & family") == ["f"]
    bob.get(bob.page.links["Friends & family 1 not read"])
    assert listed(bob) == ["f"]
    assert "Moved." in change("move", "f", folder="Inbox!")
    assert bob.path.startswith(HOME + "folder?"), "also where it is empty now"
    bob.get(bob.page.links["Archive 2 not read"])
    assert "Moved." in change("inbox", "a")
    assert subjects(world, INBOX) == ["h", "g", "e", "d", "a"]


def test_a_star_is_set_and_taken_away(world: World):
    send(world, "one", "two")
    bob = logged_in(world)
    bob.get("inbox")
    one = identifiers(bob)["one"]
    bob.submit("change", ("star", one))
    assert subjects(world, None, starred=True) == ["one"]
    assert ("unstar", one) in bob.page.form("change").buttons
    bob.get("starred")
    assert listed(bob) == ["one"]
    bob.submit("change", ("unstar", one))
    assert bob.path.startswith(HOME + "starred")
    assert subjects(world, None, starred=True) == []


def test_only_what_is_not_read_is_shown_if_wanted(sqlite_world: World, bob: Browser):
    send(sqlite_world, "one", "two")
    bob.get("inbox")
    bob.submit("change", ("do", "seen"), notice=identifiers(bob)["one"])
    bob.get(bob.page.links["Only what is not read"])
    assert listed(bob) == ["two"]
    bob.submit("change", ("do", "seen"), notice=identifiers(bob)["two"])
    assert "You have read everything here" in bob.page.text


def test_what_is_deleted_for_good_is_asked_about_first(world: World):
    send(world, "one", "two")
    bob = logged_in(world)
    bob.get("inbox")
    bob.submit("change", ("do", "trash"), notice=list(identifiers(bob).values()))
    bob.get("folder?name=trash")
    bob.submit("change", ("do", "delete"), notice=list(identifiers(bob).values()))
    assert "Delete these 2 messages for good?" in bob.page.text
    assert subjects(world, TRASH) == ["two", "one"]
    bob.submit("change", ("do", "delete"))
    assert "Deleted for good" in bob.page.text
    assert subjects(world, TRASH) == []


def test_nothing_chosen_is_nothing_changed(sqlite_world: World, bob: Browser):
    send(sqlite_world, "one")
    bob.get("inbox")
    before = sqlite_world.rows(sqlite_world.b.agent)
    bob.submit("change", ("do", "trash"))
    assert "nothing was changed" in bob.page.text
    bob.submit("change", ("do", "trash"), notice=["of another", "\0"])
    assert "nothing was changed" in bob.page.text
    assert sqlite_world.rows(sqlite_world.b.agent) == before


def test_a_folder_that_cannot_be_is_said_to_be_none(sqlite_world: World, bob: Browser):
    send(sqlite_world, "one")
    for name in ("", "a/b", "x" * 61, " ", "a\nb"):
        bob.get("inbox")
        answer = bob.submit("change", ("do", "move"), notice=identifiers(bob)["one"], folder=name)
        assert answer.status_int == 400
        assert "a folder's name" in bob.page.text
    assert subjects(sqlite_world, INBOX) == ["one"]


def test_a_folder_may_have_any_name(sqlite_world: World, bob: Browser):
    send(sqlite_world, "one")
    bob.get("inbox")
    for name in ("..", ".", "?", "#", "%2e%2e", "a&b=c", "שלום", "'\"<b>", " x "):
        bob.submit("change", ("do", "move"), notice=identifiers(bob)["one"], folder=name)
        bob.get(bob.page.links[f"{name.strip()} 1 not read"])
        assert listed(bob) == ["one"]
        current = [one for tag, one in bob.page.elements if one.get("aria-current") == "page"]
        assert [one["href"] for one in current] == [bob.path], "the navigation shows where he is"


def test_nobody_changes_what_is_anothers(sqlite_world: World, bob: Browser):
    send(sqlite_world, "one")
    bob.get("inbox")
    (identifier,) = identifiers(bob).values()
    cheryl = Endpoint.parse("cheryl@b.example")
    sqlite_world.b.agent.accounts.add(cheryl, "another one")
    hers = Browser(sqlite_world.b, "/in/box/cheryl%40b.example/")
    hers.log_in("another one")
    (token,) = hers.page.form("logout").values("token")
    for name in ("trash", "delete", "seen", "star"):
        fields = {"token": token, "do": name, "notice": identifier, "sure": "yes"}
        hers.post("change", fields)
        assert "nothing was changed" in hers.page.text
    assert subjects(sqlite_world, INBOX) == ["one"]


CHECKS = {
    "signed by a.example": {"signature": PASS, "agent": PASS, "origin": FAIL},
    "sent by the server of a.example": {"signature": NONE, "agent": PASS, "origin": PASS},
    "not verified": {"signature": FAIL, "agent": FAIL, "origin": PASS},
    "not verified: anybody": {"signature": NONE, "agent": PASS, "origin": FAIL},
}


def test_what_is_known_of_the_sender_is_told_in_plain_words(sqlite_world: World, bob: Browser):
    send(sqlite_world, "one")
    for told, results in CHECKS.items():
        checks = json.dumps([[name, result, "x"] for name, result in results.items()])
        with sqlite_world.b.agent.database.transaction() as connection:
            connection.execute(inbox_tables.notices.update().values(checks=checks))
        bob.get("inbox")
        assert told in bob.page.text
        assert ("span", {"class": "doubt" if "not" in told else "good"}) in bob.page.elements


def test_a_name_that_looks_like_an_address_does_not_hide_whose_it_is(
    sqlite_world: World, bob: Browser
):
    send(sqlite_world, "one", sender='"bank@bank.example" <alice@a.example>')
    bob.get("inbox")
    text = " ".join(bob.page.text.split())
    assert "bank@bank.example alice@a.example" in text
    assert "sent by the server of a.example" in text


# Search


def test_what_was_got_and_what_was_sent_is_found(world: World):
    send(world, "Grüße from the sea", "something else")
    world.b.submit(
        b"From: bob@b.example\r\nTo: Alice <alice@a.example>\r\nSubject: The sea\r\n\r\nx"
    )
    bob = logged_in(world)
    bob.get("search?q=sea")
    assert listed(bob) == ["The sea", "Grüße from the sea"]
    assert "in Sent" not in bob.page.text
    assert [name for name in bob.page.links if "To: Alice" in name]
    bob.get("search?q=grusse")
    assert listed(bob) == ["Grüße from the sea"]
    bob.get("search?q=alice")
    assert len(listed(bob)) == 3
    bob.get("search?q=xyzzy")
    assert "Nothing was found" in bob.page.text
    bob.get("search")
    assert "Write one or more words" in bob.page.text


def test_what_is_deleted_is_found_no_more(world: World):
    send(world, "one")
    bob = logged_in(world)
    bob.get("inbox")
    chosen = list(identifiers(bob).values())
    mailbox.delete(world.b.agent.database, BOB, chosen, 1.0)
    bob.get("search?q=one")
    assert "Nothing was found" in bob.page.text


def test_a_long_list_of_what_was_found_goes_on(sqlite_world: World, bob: Browser):
    agent = sqlite_world.b.agent
    sqlite_world.b.wing._agent = replace(agent, settings=replace(agent.settings, page_size=2))
    send(sqlite_world, *(f"word {number}" for number in range(3)))
    bob.get("search?q=word")
    assert listed(bob) == ["word 2", "word 1"]
    bob.get(bob.page.links["Older"])
    assert listed(bob) == ["word 0"]


def test_no_question_does_harm(world: World):
    bob = logged_in(world)
    for query in ("%22", "%00", "*", "a" * 2000, "%27%3B--", "AND", "NEAR(", "a%00b", "%26%7C"):
        assert bob.get(f"search?q={query}").status_int == 200, query


# Quarantine


def test_what_is_in_quarantine_is_released_or_deleted(world: World):
    filters.add(world.b.agent.database, str(BOB), Action.QUARANTINE, "*")
    send(world, "one", "two", "three")
    bob = logged_in(world)
    bob.get("inbox")
    assert listed(bob) == []
    bob.get("quarantine")
    assert sorted(listed(bob)) == ["one", "three", "two"]
    known = identifiers(bob)
    bob.submit("quarantine", ("do", "release"), notice=[known["one"], "gone"])
    assert "it is in the inbox now" in bob.page.text
    assert subjects(world, INBOX) == ["one"]
    bob.submit("quarantine", ("do", "drop"), notice=known["two"])
    assert "Delete this message for good?" in bob.page.text
    bob.submit("quarantine", ("do", "drop"))
    assert listed(bob) == ["three"]
    bob.submit("quarantine", ("do", "drop"))
    assert "nothing was changed" in bob.page.text
