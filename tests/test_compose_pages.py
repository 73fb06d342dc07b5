"""A message is written, sent once, followed and withdrawn, by forms that lose nothing."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import func, select, update

from tests.fakes.browser import SAME_ORIGIN, Browser
from tests.test_message_pages import settled
from tests.world import ALICE, BOB, World, basic
from xhmtp_wsgi import preferences
from xhmtp_wsgi.errors import ConnectionFailed, StorageFull
from xhmtp_wsgi.protocol.composing import header_fields
from xhmtp_wsgi.protocol.mime_parts import entity_of
from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.recipient import mailbox
from xhmtp_wsgi.recipient.mailbox import Wanted
from xhmtp_wsgi.sender import drafts, injection, outbox
from xhmtp_wsgi.sender.drafts import Draft, DraftFields
from xhmtp_wsgi.sender.progress import NOBODY, Progress, progress_of
from xhmtp_wsgi.sender.tables import deliveries, messages
from xhmtp_wsgi.web import compose, sent
from xhmtp_wsgi.web.delivery_words import in_words, plain
from xhmtp_wsgi.web.shown_parts import name_of, octets_of, parts_of
from xhmtp_wsgi.web.shown_text import text_of_message

HOME = "/xhmtp/alice%40a.example/"
LETTER = {"to": "bob@b.example", "subject": "Lunch", "text": "Dear Bob,\r\n\r\nshall we?"}


@pytest.fixture
def alice(world: World) -> Browser:
    """alice's browser."""
    return browser_of(world)


@pytest.fixture
def quick(sqlite_world: World) -> Browser:
    """The same on SQLite alone."""
    return browser_of(sqlite_world)


def browser_of(world: World) -> Browser:
    browser = Browser(world.a, HOME)
    browser.headers["Authorization"] = basic("alice@a.example", "wonderland")
    return browser


def sent_octets(world: World) -> list[bytes]:
    """What alice has sent, newest first."""
    database = world.a.agent.database
    return [
        b"".join(outbox.octets(database, one.identifier, 0, one.size))
        for one in outbox.sent(database, ALICE, limit=99, skip=0)
    ]


def kept(world: World) -> list[Draft]:
    database = world.a.agent.database
    return [drafts.find(database, ALICE, one.identifier) for one in drafts.listed(database, ALICE)]


def text(browser: Browser) -> str:
    return " ".join(browser.page.text.split())


def upload(browser: Browser, button: str, files: Sequence[tuple[str, bytes]], **typed: str) -> None:
    """Sends the form of the page with files, as browsers do."""
    place = browser.path.partition("?")[0].rpartition("/")[2]
    form = browser.page.form(place, ("do", button))
    fields = [(name, typed.get(name, value)) for name, value in form.fields if name != "files"]
    body = b"".join(
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in [*fields, ("do", button)]
    )
    for name, octets in files:
        body += (
            f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
            "Content-Type: application/x\r\n\r\n"
        ).encode() + octets + b"\r\n"  # fmt: skip
    kind = "multipart/form-data; boundary=edge"
    browser._ask(form.action, "POST", body + b"--edge--\r\n", kind, SAME_ORIGIN)


def attachments(octets: bytes) -> dict[str, bytes]:
    return {
        name_of(part): b"".join(octets_of(part))
        for part in parts_of(entity_of(octets)).parts
        if not part.is_text
    }


# Writing and sending


def test_a_message_is_written_and_sent(world: World, alice: Browser):
    alice.get("compose")
    alice.submit("compose", ("do", "send"), **LETTER, cc="Carol <carol@c.example>")
    assert alice.path.startswith(f"{HOME}sent/")
    assert "Sent. Each recipient's agent is being told." in text(alice)
    (octets,) = sent_octets(world)
    fields = header_fields(octets)
    assert fields["from"] == "alice@a.example"
    assert fields["to"] == "bob@b.example"
    assert fields["cc"] == "Carol <carol@c.example>"
    assert fields["subject"] == "Lunch"
    assert text_of_message(octets) == "Dear Bob,\n\nshall we?"
    assert kept(world) == []
    world.notify()
    (notice,) = mailbox.listed(world.b.agent.database, BOB, Wanted(), limit=9)
    assert b"Lunch" in notice.headers


def test_whom_the_others_are_not_to_know_is_not_named(sqlite_world: World, quick: Browser):
    quick.get("compose")
    quick.submit("compose", ("do", "send"), **LETTER, bcc="secret@c.example")
    assert "secret" not in sent_octets(sqlite_world)[0].decode()
    assert "secret@c.example" in text(quick), "its author sees it"


def test_a_name_alone_is_somebody_of_the_own_domain(sqlite_world: World, quick: Browser):
    sqlite_world.a.agent.accounts.add(ALICE.__class__.parse("carol@a.example"), "x")
    quick.get("compose")
    quick.submit("compose", ("do", "send"), to="carol; bob@b.example", subject="", text="x")
    assert header_fields(sent_octets(sqlite_world)[0])["to"] == "carol@a.example, bob@b.example"


@pytest.mark.parametrize(
    ("typed", "field", "words"),
    [
        ({"to": ""}, "to", "Who is to get it?"),
        ({"to": "bob@"}, "to", "is not an address"),
        ({"cc": "bob@@b.example"}, "cc", "is not an address"),
        ({"bcc": '"bob@b.example'}, "bcc", "is not an address"),
        ({"cc": "nobody@a.example"}, "cc", "nobody@a.example: a.example has no such user."),
        ({"to": "bob@b.example, x@1.2.3.4"}, "to", "“x@1.2.3.4” is not an address"),
        ({"to": "<script>alert(1)</script>"}, "to", "<script>alert(1)</script>” is not an address"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field_and_nothing_is_lost(
    sqlite_world: World, quick: Browser, typed: dict[str, str], field: str, words: str
):
    quick.get("compose")
    upload(quick, "send", [("a.txt", b"attached")], **{**LETTER, **typed})
    assert quick.answer.status_int == 422
    assert sent_octets(sqlite_world) == []
    marked = {given["name"] for _, given in quick.page.elements if given.get("aria-invalid")}
    assert marked == {field}
    described = [given.get("aria-describedby") for _, given in quick.page.elements]
    assert f"wrong-{field}" in described
    assert words in text(quick)
    (draft,) = kept(sqlite_world)
    form = quick.page.form(f"compose/{draft.identifier}", ("do", "send"))
    for name, value in {**LETTER, **typed}.items():
        assert form.values(name) == [value.replace("\r\n", "\n")], name
    assert "a.txt" in text(quick)
    assert [one.name for one in draft.attachments] == ["a.txt"]
    # Mended, it goes, with what was attached.
    good = {"to": "bob@b.example", "cc": "", "bcc": ""}
    quick.submit(f"compose/{draft.identifier}", ("do", "send"), **good)
    assert attachments(sent_octets(sqlite_world)[0]) == {"a.txt": b"attached"}
    assert kept(sqlite_world) == []


def test_what_the_agent_refuses_is_told_and_the_message_stays(
    sqlite_world: World, quick: Browser, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any, **__: Any) -> None:
        raise StorageFull("there is no room left to take the message")

    quick.get("compose")
    with monkeypatch.context() as broken:
        broken.setattr(injection, "store", full)
        quick.submit("compose", ("do", "send"), **LETTER)
    assert quick.answer.status_int == 422
    assert "It is not sent: there is no room left" in text(quick)
    (draft,) = kept(sqlite_world)
    quick.submit(f"compose/{draft.identifier}", ("do", "send"))
    assert len(sent_octets(sqlite_world)) == 1


# Once


def test_who_presses_twice_sends_once(world: World, alice: Browser):
    alice.get("compose")
    form = alice.page.form("compose", ("do", "send"))
    fields = [*(one for one in form.fields if one[0] not in LETTER), *LETTER.items()]
    places = []
    for _ in range(3):
        alice.post("compose", [*fields, ("do", "send")])
        places.append(alice.path)
    assert len(set(places)) == 1
    assert len(sent_octets(world)) == 1
    assert kept(world) == []


def test_a_draft_that_is_sent_twice_is_sent_once(world: World, alice: Browser):
    draft = drafts.save(world.a.agent.database, ALICE, DraftFields(to="bob@b.example"), 1.0)
    alice.get(f"compose/{draft}")
    form = alice.page.form(f"compose/{draft}", ("do", "send"))
    for _ in range(2):
        alice.post(form.action, [*form.fields, ("do", "send")])
        assert alice.path.startswith(f"{HOME}sent/")
    assert len(sent_octets(world)) == 1
    assert kept(world) == []


def test_two_at_the_same_time_send_once(
    sqlite_world: World, quick: Browser, monkeypatch: pytest.MonkeyPatch
):
    """The second comes when the first is on disk, and its draft not yet thrown away."""
    draft = drafts.save(sqlite_world.a.agent.database, ALICE, DraftFields(to="bob@b.example"), 1.0)
    quick.get(f"compose/{draft}")
    form = quick.page.form(f"compose/{draft}", ("do", "send"))
    with monkeypatch.context() as held:
        held.setattr(drafts, "delete", lambda *_: None)
        quick.post(form.action, [*form.fields, ("do", "send")])
    first = quick.path
    quick.post(form.action, [*form.fields, ("do", "send")])
    assert quick.path == first
    assert len(sent_octets(sqlite_world)) == 1


def test_what_is_typed_into_a_draft_that_was_deleted_is_kept(sqlite_world: World, quick: Browser):
    database = sqlite_world.a.agent.database
    draft = drafts.save(database, ALICE, DraftFields(to="bob@b.example"), 1.0)
    quick.get(f"compose/{draft}")
    drafts.delete(database, ALICE, draft)
    upload(quick, "send", [("b.txt", b"b")], text="typed")
    assert sent_octets(sqlite_world) == [], "what was attached before would be missing"
    assert "was deleted meanwhile" in text(quick)
    (other,) = kept(sqlite_world)
    assert (other.fields.text, [one.name for one in other.attachments]) == ("typed", ["b.txt"])


def test_two_forms_are_two_messages(sqlite_world: World, quick: Browser):
    for _ in range(2):
        quick.get("compose")
        quick.submit("compose", ("do", "send"), **LETTER)
    assert len(sent_octets(sqlite_world)) == 2


# Drafts and what is attached


def test_files_are_attached_one_after_another_and_taken_off(world: World, alice: Browser):
    alice.get("compose")
    upload(alice, "attach", [("a.txt", b"a"), ("../../b\u202e.bin", bytes(70_000))], **LETTER)
    assert "Attached." in text(alice)
    upload(alice, "attach", [("Grüße.pdf", b"%PDF")])
    (draft,) = kept(world)
    assert draft.fields.text == "Dear Bob,\n\nshall we?"
    assert sorted(one.name for one in draft.attachments) == ["Grüße.pdf", "a.txt", "b.bin"]
    taken = next(one for one in draft.attachments if one.name == "a.txt")
    alice.submit(f"compose/{draft.identifier}", ("detach", taken.identifier), subject="New")
    assert "No longer attached." in text(alice)
    upload(alice, "send", [("last.txt", b"last")])
    (octets,) = sent_octets(world)
    assert attachments(octets) == {
        "Grüße.pdf": b"%PDF", "b.bin": bytes(70_000), "last.txt": b"last",
    }  # fmt: skip
    assert header_fields(octets)["subject"] == "New"


def test_what_is_too_much_is_not_attached_and_nothing_is_lost(
    sqlite_world: World, quick: Browser, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(drafts, "MOST_ATTACHED", 100)
    quick.get("compose")
    upload(quick, "send", [("small", b"x" * 60), ("large", b"x" * 60)], **LETTER)
    assert quick.answer.status_int == 413
    assert "large is not attached" in text(quick)
    assert sent_octets(sqlite_world) == []
    (draft,) = kept(sqlite_world)
    assert [one.name for one in draft.attachments] == ["small"]
    assert draft.fields.subject == "Lunch"


def test_a_draft_is_kept_found_and_deleted_after_asking(sqlite_world: World, quick: Browser):
    quick.get("compose")
    quick.submit("compose", ("do", "save"), to="not yet @", subject="", text="begun")
    assert "The draft is saved." in text(quick)
    quick.get("drafts")
    assert "To: not yet @" in text(quick)
    quick.get(quick.page.links["(no subject)"])
    (draft,) = kept(sqlite_world)
    quick.submit(f"compose/{draft.identifier}", ("do", "delete"))
    assert kept(sqlite_world) == [draft], "it was only asked"
    quick.get("drafts")
    quick.submit("drafts", ("notice", draft.identifier))
    assert kept(sqlite_world) == [draft], "it was only asked"
    quick.submit("drafts", ("do", "delete"))
    assert kept(sqlite_world) == []
    assert "There are no drafts." in text(quick)


def test_nobody_sees_or_sends_anothers_draft(sqlite_world: World, quick: Browser):
    draft = drafts.save(sqlite_world.a.agent.database, BOB, DraftFields(text="bob's"), 1.0)
    assert quick.get(f"compose/{draft}").status_int == 404
    quick.get("compose")
    token = quick.page.form("compose").values("token")[0]
    quick.post(f"compose/{draft}", {"token": token, "do": "send", "to": "bob@b.example"})
    assert sent_octets(sqlite_world) == []
    assert drafts.find(sqlite_world.a.agent.database, BOB, draft).fields.text == "bob's"
    assert "bob's" not in quick.answer.text


@pytest.mark.parametrize("path", ["compose/x/y", "compose/none", "sent/none", "sent/x/part/1"])
def test_what_is_not_there_is_not_found(sqlite_world: World, quick: Browser, path: str):
    assert quick.get(path).status_int == 404


def test_a_signature_stands_below(sqlite_world: World, quick: Browser):
    preferences.put(sqlite_world.a.agent.database, ALICE, "signature", "Alice\nWonderland")
    quick.get("compose?to=bob%40b.example")
    quick.submit("compose", ("do", "send"))
    assert text_of_message(sent_octets(sqlite_world)[0]).endswith("-- \nAlice\nWonderland")


@pytest.mark.parametrize("typed", ["\n\n  two lines first", "ends so\n\n", "\ttab", "a\n\n\n\nb"])
def test_no_blank_is_lost_between_draft_and_form(sqlite_world: World, quick: Browser, typed: str):
    quick.get("compose")
    quick.submit("compose", ("do", "save"), text=typed.replace("\n", "\r\n"))
    (draft,) = kept(sqlite_world)
    assert draft.fields.text == typed
    form = quick.page.form(f"compose/{draft.identifier}", ("do", "save"))
    assert form.values("text") == [typed]


# Answers


WRITTEN = (
    b"From: Bob <bob@b.example>\r\nTo: alice@a.example, Carol <carol@c.example>\r\n"
    b"Cc: dan@d.example\r\nSubject: Plans\r\nMessage-ID: <1@b.example>\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n\r\n<p>Dear <b>Alice</b></p>\r\n"
)


def written(world: World, octets: bytes = WRITTEN, *, reading: bool = True) -> str:
    """bob writes to alice; where she sees it."""
    world.a.agent = world.a.wing._agent = settled(world.a.agent, reading=reading)
    world.b.submit(octets, recipients=["alice@a.example"])
    from xhmtp_wsgi.sender.notifier import Notifier

    assert Notifier(world.b.agent).run_pass().notified == 1
    (notice,) = mailbox.listed(world.a.agent.database, ALICE, Wanted(), limit=1)
    return f"message/{notice.identifier}"


def pressed(browser: Browser, page: str, button: str) -> DraftFields:
    """The draft that a button begins, as its form shows it."""
    browser.get(page)
    browser.submit(page.rpartition("/")[2], ("do", button))
    assert browser.path.startswith(f"{HOME}compose/")
    identifier = browser.path.partition("?")[0].rpartition("/")[2]
    form = browser.page.form(f"compose/{identifier}", ("do", "send"))
    names = ("to", "cc", "bcc", "subject", "text", "in_reply_to", "references")
    return DraftFields(**{name: form.values(name)[0] for name in names})


def test_a_reply_goes_to_the_author_and_quotes(world: World, alice: Browser):
    fields = pressed(alice, written(world), "reply")
    assert (fields.to, fields.cc) == ("Bob <bob@b.example>", "")
    assert fields.subject == "Re: Plans"
    assert "> Dear Alice" in fields.text
    assert (fields.in_reply_to, fields.references) == ("<1@b.example>", "<1@b.example>")
    alice.submit(alice.path, ("do", "send"))
    octets = sent_octets(world)[0]
    assert header_fields(octets)["in-reply-to"] == "<1@b.example>"


def test_a_reply_to_all_goes_to_the_others_too(sqlite_world: World, quick: Browser):
    fields = pressed(quick, written(sqlite_world), "reply-all")
    assert fields.to == "Bob <bob@b.example>"
    assert fields.cc == "Carol <carol@c.example>, dan@d.example"


def test_a_forward_takes_text_and_message_along(sqlite_world: World, quick: Browser):
    fields = pressed(quick, written(sqlite_world), "forward")
    assert (fields.to, fields.subject) == ("", "Fwd: Plans")
    assert "Dear Alice" in fields.text
    quick.submit(quick.path, ("do", "send"), to="eve@e.example")
    (octets,) = sent_octets(sqlite_world)
    assert attachments(octets)["message.eml"].endswith(b"<p>Dear <b>Alice</b></p>\r\n")


def test_plain_text_is_forwarded_as_text_alone(sqlite_world: World, quick: Browser):
    plain = b"From: bob@b.example\r\nTo: alice@a.example\r\nSubject: x\r\n\r\nDear Alice\r\n"
    fields = pressed(quick, written(sqlite_world, plain), "forward")
    assert "Dear Alice" in fields.text
    assert kept(sqlite_world)[0].attachments == ()


@pytest.mark.parametrize("reading", [True, False])
def test_a_reply_is_begun_even_where_the_message_cannot_be_fetched(
    sqlite_world: World, quick: Browser, reading: bool
):
    page = written(sqlite_world, reading=reading)
    sqlite_world.network.hosts["server.b.example"] = ConnectionFailed("down")
    fields = pressed(quick, page, "reply")
    assert fields.to == "Bob <bob@b.example>"
    assert fields.text == ""
    assert "nothing of it is quoted" in text(quick)


def test_nobody_can_answer_an_anonymous_message(sqlite_world: World, quick: Browser):
    page = written(sqlite_world)
    database = sqlite_world.a.agent.database
    from xhmtp_wsgi.recipient.tables import notices

    with database.transaction() as connection:
        told = connection.execute(select(notices.c.headers)).scalar_one()
        lines = [line for line in told.split(b"\r\n") if not line.startswith(b"From")]
        connection.execute(update(notices).values(headers=b"\r\n".join(lines)))
    quick.get(page)
    buttons = quick.page.form(page.rpartition("/")[2]).buttons
    assert ("do", "reply") not in buttons
    assert ("do", "forward") in buttons


# What was sent


def state(**counts: int) -> Progress:
    reasons = {State.DEFERRED: "b.example is slow", State.REFUSED: "no such user"}
    found = {State(name): count for name, count in counts.items()}
    return Progress(found, {name: reasons[name] for name in found if name in reasons})


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (state(queued=1), "Waits to be told"),
        (state(deferred=1), "Waits: b.example is slow"),
        (state(notified=1), "Notified"),
        (state(fetched=1), "Fetched"),
        (state(refused=1), "Refused: no such user"),
        (state(expired=1), "Given up"),
        (state(withdrawn=2), "2 withdrawn"),
        (state(notified=2, deferred=1), "2 of 3 notified, 1 waits: b.example is slow"),
        (state(notified=1, fetched=1, queued=2), "2 of 4 notified (1 fetched it), 2 wait"),
        (state(fetched=1, refused=1, expired=1),
         "1 of 3 notified (1 fetched it), 1 refused: no such user, 1 given up"),
        (NOBODY, "Nobody is told of it"),
    ],
)  # fmt: skip
def test_how_far_it_has_come_in_words(progress: Progress, words: str):
    assert in_words(progress) == words


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ('b.example answered 404: {"type": "x", "detail": "no \\"such\\" one"}',
         'b.example answered 404: no "such" one'),
        ('b.example answered 404: {"detail": "cut', 'b.example answered 404: {"detail": "cut'),
        ("b.example is slow", "b.example is slow"),
        ('{"detail": "\\x"}', '{"detail": "\\x"}'),
    ],
)  # fmt: skip
def test_what_an_agent_answered_is_told_plainly(answer: str, shown: str):
    assert plain(answer) == shown


def test_what_was_sent_is_listed_with_its_state(world: World, alice: Browser):
    alice.get("compose")
    alice.submit("compose", ("do", "send"), **LETTER)
    alice.get("sent")
    assert "To: bob@b.example" in text(alice)
    assert "Waits to be told" in text(alice)
    world.notify()
    alice.get("sent")
    assert "Notified" in text(alice)
    assert progress_of(world.a.agent.database, []) == {}


def test_a_long_list_of_what_was_sent_goes_on(sqlite_world: World, quick: Browser):
    for number in range(55):
        sqlite_world.inject(
            f"From: alice@a.example\r\nTo: bob@b.example\r\nSubject: m{number}\r\n\r\nx".encode()
        )
        sqlite_world.clock.now += 1
    quick.get("sent")
    assert "m54" in text(quick)
    assert "m4" not in quick.page.links
    quick.get(quick.page.links["Older"])
    assert "m0 " in text(quick)
    assert "Older" not in quick.page.links
    quick.get(quick.page.links["Newer"])
    assert "m54" in text(quick)
    assert quick.get("sent?page=99999999999999999999").status_int == 200


def test_each_recipients_state_is_told(sqlite_world: World, quick: Browser):
    to = "bob@b.example, nobody@b.example, eve@nowhere.example"
    quick.get("compose")
    quick.submit("compose", ("do", "send"), to=to, subject="x", text="x")
    sqlite_world.resolver.failing |= {"_xhmtps._tcp.nowhere.example", "_xhmtp._tcp.nowhere.example"}
    sqlite_world.notify()
    quick.get(quick.path.partition("?")[0])
    found = text(quick)
    assert "bob@b.example Notified" in found
    assert "nobody@b.example Refused server.b.example answered 404: b.example has no such" in found
    assert "does not tell" in found.partition("eve@nowhere.example Waits")[2]
    assert "Tried once; next 15 Jan 2027" in found
    with sqlite_world.a.agent.database.transaction() as connection:
        connection.execute(
            update(deliveries)
            .where(deliveries.c.recipient == "bob@b.example")
            .values(state="fetched", fetched_at=sqlite_world.clock.now, moved_to="bob@c.example",
                    unvouched="elsewhere.example")
        )  # fmt: skip
    quick.get(quick.path)
    assert "Fetched Notified 15 Jan 2027, 08:00 UTC, fetched 15 Jan 2027" in text(quick)
    assert "The inbox has moved to bob@c.example" in text(quick)
    assert "Nothing but the DNS says that elsewhere.example" in text(quick)


def test_many_recipients_are_shown_page_by_page(
    sqlite_world: World, quick: Browser, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sent, "RECIPIENTS_ON_A_PAGE", 3)
    quick.get("compose")
    to = ", ".join(f"u{number}@b.example" for number in range(5))
    quick.submit("compose", ("do", "send"), to=to, subject="x", text="x")
    listed = [line for line in quick.answer.text.splitlines() if line.startswith("<li><bdi>u")]
    assert len(listed) == 3
    quick.get(quick.page.links["More of the 5 recipients"])
    listed = [line for line in quick.answer.text.splitlines() if line.startswith("<li><bdi>u")]
    assert len(listed) == 2


def test_what_was_sent_is_shown_and_its_files_are_had_again(sqlite_world: World, quick: Browser):
    quick.get("compose")
    upload(quick, "send", [("a.bin", bytes(1000))], **LETTER)
    assert "shall we?" in text(quick)
    place = quick.path.partition("?")[0]
    got = quick.get(quick.page.links["a.bin"])
    assert (got.body, got.headers["Content-Type"]) == (bytes(1000), "application/octet-stream")
    assert b"Subject: Lunch" in quick.get(f"{place}/source").body
    assert b"Subject: Lunch" in quick.get(f"{place}/whole").body
    quick.get(place)
    quick.submit(place, ("do", "forward"))
    assert "Fwd: Lunch" in quick.answer.text


def test_a_message_is_withdrawn_after_asking(world: World, alice: Browser):
    alice.get("compose")
    alice.submit("compose", ("do", "send"), **LETTER)
    place = alice.path.partition("?")[0]
    alice.get(alice.page.links["Withdraw it"])
    assert "Nothing brings it back." in text(alice)
    (message,) = outbox.sent(world.a.agent.database, ALICE, limit=9, skip=0)
    assert message.withdrawn_at is None, "it was only asked"
    alice.submit("withdraw")
    assert alice.path.startswith(place)
    assert "Withdrawn: nobody can fetch it any more." in text(alice)
    assert "shall we?" not in text(alice)
    assert "Withdraw it" not in alice.page.links
    alice.get("sent")
    assert "Withdrawn" in text(alice)
    assert alice.get(f"{place}/source").status_int == 410


def test_nobody_sees_or_withdraws_what_another_has_sent(sqlite_world: World, quick: Browser):
    sqlite_world.inject()
    (message,) = outbox.sent(sqlite_world.a.agent.database, ALICE, limit=9, skip=0)
    carol = ALICE.__class__.parse("carol@a.example")
    sqlite_world.a.agent.accounts.add(carol, "x")
    other = Browser(sqlite_world.a, "/xhmtp/carol%40a.example/")
    other.headers["Authorization"] = basic("carol@a.example", "x")
    for below in ("", "/part/1", "/source", "/whole", "/withdraw"):
        assert other.get(f"sent/{message.identifier}{below}").status_int == 404
    other.get("compose")
    token = other.page.form("compose").values("token")[0]
    other.post(f"sent/{message.identifier}/withdraw", {"token": token})
    assert other.answer.status_int == 404
    found = outbox.find(sqlite_world.a.agent.database, message.identifier)
    assert found is not None
    assert found.withdrawn_at is None
    quick.post(f"sent/{message.identifier}/withdraw", {"token": token})
    assert quick.answer.status_int == 403, "another's token"


def test_reports_are_not_among_what_was_sent(sqlite_world: World, quick: Browser):
    quick.get("compose")
    quick.submit("compose", ("do", "send"), to="nobody@b.example", subject="x", text="x")
    sqlite_world.notify()
    with sqlite_world.a.agent.database.reading() as connection:
        assert connection.execute(select(func.count()).select_from(messages)).scalar_one() == 2
    quick.get("sent")
    assert len([name for name in quick.page.links if "To:" in name]) == 1
    assert compose.LAST_SENT >= 1
