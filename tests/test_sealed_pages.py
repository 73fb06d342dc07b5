"""Sealed messages on their owner's pages: locked, unlocked by his password, answered, given out."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.fakes.browser import Browser
from tests.test_message_pages import (
    browser_of,
    choose,
    kept,
    newest,
    opened,
    seen,
    send,
    switch_on,
    unplug,
)
from tests.world import BOB, World, basic, call
from xhmtp_wsgi import XHMTP, preferences
from xhmtp_wsgi.agent import make_agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import HYBRID, Identity, Recipient, armoured, seal, unseal
from xhmtp_wsgi.recipient import held_keys, sealed_extracts
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.secret_box import Locked, SecretBox
from xhmtp_wsgi.sender import drafts, sealing_keys
from xhmtp_wsgi.site_users import SiteUsers
from xhmtp_wsgi.web.login import COOKIE, KEEPER_COOKIE

HOME = "/in/box/bob%40b.example/"
PASSWORD = "builder"
KEY = Identity("x25519", bytes(range(32)))
OTHER = Identity("x25519", bytes(range(1, 33)))
CHERYL = Endpoint.parse("cheryl@b.example")


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt with a hundredth of its work: half a second is long for a test."""
    monkeypatch.setattr(held_keys, "WORK_FACTOR", 10)


def inside(
    number: int = 1,
    body: str = "Meet at the viaduct.",
    *lines: str,
    subject: str = "the lamplighter",
    sender: str = "Alice Liddell <alice@a.example>",
) -> bytes:
    """A message as alice seals it."""
    head = [
        f"From: {sender}",
        "To: Bob Builder <bob@b.example>, cheryl@b.example",
        f"Subject: {subject}",
        f"Message-ID: <m{number}@a.example>",
        "Date: Fri, 15 Jan 2027 07:12:34 +0100",
        *lines,
    ]
    return "\r\n".join([*head, "", body, ""]).encode()


def send_sealed(
    world: World,
    message: bytes,
    *recipients: Recipient,
    number: int = 1,
    armour: bool = False,
    octets: bytes | None = None,
    outer: tuple[str, ...] = (),
) -> Notice:
    """alice's own program seals a message and hands it in; what came of it.

    ``octets``: what is handed in in place of the age file.
    """
    pieces = seal([message], recipients or [KEY.recipient])
    sealed = octets or b"".join(armoured(pieces) if armour else pieces)
    head = [
        "From: alice@a.example", "To: bob@b.example", f"Message-ID: <m{number}@a.example>",
        "Date: Fri, 15 Jan 2027 06:12:00 +0000", "MIME-Version: 1.0", *outer,
        "Content-Type: application/age",
    ]  # fmt: skip
    world.clock.now += 1
    answer = world.inject("\r\n".join(head).encode() + b"\r\n\r\n" + sealed)
    assert answer.status_int == 201, answer.text
    assert world.notify().notified == 1
    return newest(world)


def hold(world: World, identity: Identity = KEY, password: str = PASSWORD) -> None:
    """bob's agent holds a key of his."""
    held_keys.give(world.b.agent.database, BOB, identity, password, world.clock())


@pytest.fixture
def bob(world: World) -> Browser:
    """bob's browser, in which he has logged in; his agent fetches, and holds his key."""
    switch_on(world)
    hold(world)
    browser = Browser(world.b, HOME)
    browser.log_in(PASSWORD)
    return browser


def unlock(browser: Browser, path: str = "unlock", password: str = PASSWORD) -> None:
    """Opens a page with the form, and sends the password."""
    browser.get(path)
    browser.submit("unlock", ("do", "unlock"), password=password)


def text_of(browser: Browser) -> str:
    return " ".join(browser.page.text.split())


# Locked


def test_a_locked_message_says_what_it_is_and_asks_for_the_password(
    world: World, bob: Browser, monkeypatch: pytest.MonkeyPatch
):
    notice = send_sealed(world, inside())
    monkeypatch.setattr(world.network, "get", unplugged)
    text = opened(bob, notice)
    assert "This message is sealed" in text
    assert "Your password" in text
    assert "viaduct" not in text
    assert "lamplighter" not in text
    assert "Sealed message" in [
        one.strip() for one in re.findall(r"<h1[^>]*>(.*?)<", bob.answer.text)
    ]
    assert not seen(world, notice), "it was not read"
    assert "age -d -i key.txt" in text


def unplugged(*_: Any, **__: Any) -> Any:
    raise AssertionError("nobody is asked for a message that cannot be shown")


def test_where_no_key_is_held_it_says_how_to_open_it(world: World):
    switch_on(world)
    browser = browser_of(world)
    notice = send_sealed(world, inside())
    text = opened(browser, notice)
    assert "This site does not hold a key of yours" in text
    assert "age -d -i key.txt" in text
    assert "Your password" not in text
    assert browser.page.links["Let this site open sealed messages for you"].endswith(
        "settings/sealing"
    )
    browser.get(browser.page.links["Save the sealed message"])
    assert browser.answer.content_type == "application/age"
    assert browser.answer.headers["Cache-Control"] == "no-store"
    assert "attachment" in browser.answer.headers["Content-Disposition"]
    assert b"".join(unseal([browser.answer.body], [KEY])) == inside()
    browser.get(f"message/{notice.identifier}/source")
    assert "this site holds no key of yours" in text_of(browser)


def test_where_messages_are_not_fetched_it_leads_to_where_it_is(world: World):
    hold(world)
    notice = send_sealed(world, inside())
    browser = browser_of(world)
    text = opened(browser, notice)
    assert "Get the sealed message from server.a.example" in text
    assert "a file that only your key opens" in text
    assert "Your password" not in text, "a password would not help"


def test_a_message_that_is_not_sealed_has_no_sealed_file(world: World, bob: Browser):
    notice = send(world)
    assert bob.get(f"message/{notice.identifier}/sealed").status_int == 404


# Unlocked


@pytest.mark.parametrize("armour", [False, True])
@pytest.mark.parametrize("post_quantum", [False, True])
def test_unlocked_it_is_shown_as_any_message_and_says_that_it_was_sealed(
    world: World, bob: Browser, post_quantum: bool, armour: bool
):
    identity = Identity.generate(post_quantum=True) if post_quantum else KEY
    if post_quantum:
        hold(world, identity)
    notice = send_sealed(world, inside(), identity.recipient, armour=armour)
    opened(bob, notice)
    bob.submit("unlock", ("do", "unlock"), password=PASSWORD)
    text = text_of(bob)
    assert "Meet at the viaduct." in text
    assert "the lamplighter" in text
    assert "Alice Liddell <alice@a.example>" in text
    assert "Bob Builder <bob@b.example>" in text
    assert "Sealed message, shown as your key is unlocked" in text
    assert "The seal: passed" in text
    assert f"opened with your key {str(identity.recipient)[:16]}" in text
    assert "That it is unchanged: passed" in text
    assert "(dated 15 Jan 2027, 06:12 UTC)" in text, "the true date"
    assert seen(world, notice)
    assert bob.answer.headers["Cache-Control"] == "no-store"


def test_locking_hides_it_and_logging_out_does(world: World, bob: Browser):
    notice = send_sealed(world, inside())
    unlock(bob, f"message/{notice.identifier}")
    assert "viaduct" in bob.page.text
    bob.submit("unlock", ("do", "lock"))
    assert "Locked" in bob.page.text
    assert "viaduct" not in opened(bob, notice)
    unlock(bob, f"message/{notice.identifier}")
    assert "viaduct" in bob.page.text
    old = dict(bob.cookies)
    bob.submit("logout")
    bob.log_in(PASSWORD)
    assert "viaduct" not in opened(bob, notice)
    bob.cookies = old
    assert bob.get("inbox").status_int == 200
    assert "Please log in" in bob.page.text or "Log in" in bob.page.text


def test_every_page_can_lock_while_it_is_unlocked(world: World, bob: Browser):
    def can_lock(path: str) -> bool:
        bob.get(path)
        return any(("do", "lock") in form.buttons for form in bob.page.forms)

    paths = ("inbox", "search?q=x", "settings", "drafts", "compose", "quarantine")
    assert not any(map(can_lock, paths))
    unlock(bob)
    assert all(map(can_lock, paths))


def test_a_new_password_locks_and_opens_the_key_from_then_on(world: World, bob: Browser):
    notice = send_sealed(world, inside())
    unlock(bob)
    bob.get("settings/password")
    bob.submit("settings/password", old=PASSWORD, new="carpenter!", again="carpenter!")
    assert "Your password is changed" in bob.page.text
    assert "viaduct" not in opened(bob, notice)
    bob.submit("unlock", ("do", "unlock"), password=PASSWORD)
    assert "opens none of your keys" in bob.page.text
    bob.submit("unlock", ("do", "unlock"), password="carpenter!")
    assert "viaduct" in bob.page.text


def test_wrong_passwords_are_counted_and_refused(world: World, bob: Browser):
    switch_on(world)
    notice = send_sealed(world, inside())
    answers = []
    for _ in range(world.b.agent.settings.failed_logins + 1):
        unlock(bob, password="wrong")
        answers.append(bob.answer.status_int)
    assert answers[0] == 400
    assert answers[-1] == 429
    assert "Retry-After" in bob.answer.headers
    unlock(bob)
    assert bob.answer.status_int == 429, "the right one too, from here"
    assert "viaduct" not in opened(bob, notice)
    login = Browser(world.b, HOME)
    login.log_in(PASSWORD)
    assert login.answer.status_int == 429, "log-ins count the same"


def test_another_browser_of_his_is_locked(world: World, bob: Browser):
    notice = send_sealed(world, inside())
    unlock(bob)
    other = Browser(world.b, HOME)
    other.log_in(PASSWORD)
    assert "viaduct" in opened(bob, notice)
    assert "viaduct" not in opened(other, notice)


def test_unlocking_leads_back_to_where_one_wanted(world: World, bob: Browser):
    notice = send_sealed(world, inside())
    bob.get(f"message/{notice.identifier}/source")
    assert "Unlock your sealed messages" in bob.page.text
    bob.submit("unlock", ("do", "unlock"), password=PASSWORD)
    assert bob.path.partition("?")[0].endswith(f"message/{notice.identifier}/source")
    assert "Subject: the lamplighter" in bob.answer.text
    bob.get("unlock?to=//evil.example/")
    bob.submit("unlock", ("do", "unlock"), password=PASSWORD)
    assert bob.path.partition("?")[0] == HOME + "inbox"


def test_a_form_of_another_site_unlocks_nothing(world: World, bob: Browser):
    notice = send_sealed(world, inside())
    bob.get("unlock")
    (token,) = bob.page.form("unlock").values("token")
    fields = {"token": token, "do": "unlock", "password": PASSWORD}
    assert bob.post("unlock", fields, {"Sec-Fetch-Site": "cross-site"}).status_int == 403
    assert bob.post("unlock", {**fields, "token": "x"}).status_int == 403
    assert "viaduct" not in opened(bob, notice)


def test_parts_source_and_whole_are_those_of_what_was_inside(world: World, bob: Browser):
    body = (
        "--edge\r\nContent-Type: text/plain\r\n\r\nSee the plan.\r\n--edge\r\nContent-Type: "
        'application/pdf\r\nContent-Disposition: attachment; filename="plan.pdf"\r\n\r\n%PDF\r\n'
        "--edge--"
    )
    message = inside(1, body, 'Content-Type: multipart/mixed; boundary="edge"')
    notice = send_sealed(world, message)
    unlock(bob, f"message/{notice.identifier}")
    assert "See the plan." in bob.page.text
    for path in ("part/2", "source", "whole"):
        bob.get(f"message/{notice.identifier}/{path}")
        assert bob.answer.headers["Cache-Control"] == "no-store"
        assert bob.answer.body == (b"%PDF" if path == "part/2" else message)
    bob.get(f"message/{notice.identifier}/sealed")
    assert b"plan" not in bob.answer.body


# What is wrong with it


def changed(octets: bytes) -> bytes:
    return octets[:-1] + bytes([octets[-1] ^ 1])


def without_last_line(octets: bytes) -> bytes:
    """An age file whose first stanza was taken out."""
    lines = octets.split(b"\n")
    return b"\n".join([lines[0], *lines[3:]])


LONG = inside(1, "word " * 40_000)
WRONG: Mapping[str, tuple[Any, str]] = {
    "an octet changed": (lambda: changed(b"".join(seal([inside()], [KEY.recipient]))),
                         "It was changed, or cut, since it was sealed"),
    "cut at a chunk": (lambda: cut(b"".join(seal([LONG], [KEY.recipient]))), "its end is missing"),
    "cut": (lambda: b"".join(seal([LONG], [KEY.recipient]))[:-100], "It was changed, or cut"),
    "another's": (lambda: b"".join(seal([inside()], [Identity.generate().recipient])),
                  "None of the keys that are held here opens it"),
    "a stanza taken out": (
        lambda: without_last_line(
            b"".join(seal([inside()], [Identity.generate().recipient, KEY.recipient]))),
        "It was changed, or cut, since it was sealed"),
    "no message inside": (lambda: b"".join(seal([b"\0\1\2 no header"], [KEY.recipient])),
                          "What was sealed is no message"),
}  # fmt: skip


def cut(octets: bytes) -> bytes:
    """An age file that ends after its second chunk."""
    payload = octets.index(b"\n--- ")
    payload = octets.index(b"\n", payload + 1) + 1
    return octets[: payload + 16 + 2 * (65536 + 16)]


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_in_its_own_words_and_nothing_of_it_is_shown(
    world: World, bob: Browser, name: str
):
    make, words = WRONG[name]
    notice = send_sealed(world, inside(), octets=make())
    unlock(bob)
    text = opened(bob, notice)
    assert words in text
    for shown in ("viaduct", "word word", "lamplighter"):
        assert shown not in text
    for path in ("source", "whole", "part/1"):
        bob.get(f"message/{notice.identifier}/{path}")
        assert words in text_of(bob), "it leads to the page that says so"
    found = sealed_extracts.insides(world.b.agent.database, [KEY], [notice.identifier])
    assert found == {}
    assert not seen(world, notice)


def test_what_is_announced_as_sealed_and_is_not_is_not_shown(
    world: World, bob: Browser, monkeypatch: pytest.MonkeyPatch
):
    from xhmtp_wsgi.network import HTTPAnswer
    from xhmtp_wsgi.recipient import reading
    from xhmtp_wsgi.recipient.verdict import NONE, Check

    notice = send_sealed(world, inside())
    unlock(bob)
    monkeypatch.setattr(
        world.network, "get", lambda *_, **__: HTTPAnswer(200, {}, inside(1, "put in its place"))
    )
    monkeypatch.setattr(reading, "_digest", lambda *_: Check("digest", NONE, "none was told"))
    text = opened(bob, notice)
    assert "It is no sealed message, though it was announced as one" in text
    assert "put in its place" not in text


DIFFERENT = {
    "another author": (
        inside(sender="Carol <carol@c.example>"), "inside, it is from Carol <carol@c.example>",
    ),
    "another ID": (inside(2), "inside, it has another Message-ID than you were told of"),
    "two authors": (
        inside(sender="alice@a.example, carol@c.example"),
        "inside, it is from alice@a.example, carol",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_inside_from_what_was_told_is_a_failed_check(
    world: World, bob: Browser, name: str
):
    message, words = DIFFERENT[name]
    notice = send_sealed(world, message)
    unlock(bob)
    text = opened(bob, notice)
    assert "The seal: failed" in text
    assert words in text
    heading = text[text.index("From") : text.index("What was checked")]
    assert "<carol@c.example>" not in heading.partition("Careful")[0], "who is named was checked"


def test_no_key_of_an_author_who_only_stands_inside_is_remembered(world: World, bob: Browser):
    passed_on = ("List-Id: <team.c.example>", "Original-From: carol@c.example")
    for number, message in enumerate(
        (inside(1, sender="carol@c.example"), inside(2, "Hello", *passed_on)), 1
    ):
        notice = send_sealed(world, message, number=number)
        unlock(bob)
        text = opened(bob, notice)
        assert "The author's own signature: not checked not looked at" in text


# Copies


def test_a_copy_stays_sealed_and_is_opened_without_a_connection(
    world: World, bob: Browser, monkeypatch: pytest.MonkeyPatch
):
    from xhmtp_wsgi.recipient import kept_copies

    choose(world, "always")
    notice = send_sealed(world, inside())
    unlock(bob)
    assert "sealed as it came" in opened(bob, notice)
    assert kept(world, notice)
    copy = kept_copies.kept(world.b.agent.database, notice.identifier)
    assert copy is not None
    assert b"viaduct" not in copy[0]
    assert {check.name for check in copy[1]} == {"digest"}, "what is inside is looked at each time"
    unplug(world, monkeypatch)
    text = opened(bob, notice)
    assert "Meet at the viaduct." in text
    assert "The seal: passed" in text
    for word in ("x25519", "encryption"):
        bob.get(f"search?q={word}")
        assert "Nothing was found" in bob.page.text, "of the age file itself nothing is indexed"


def test_one_message_is_kept_when_asked_to(world: World, bob: Browser):
    notice = send_sealed(world, inside())
    unlock(bob, f"message/{notice.identifier}")
    assert not kept(world, notice)
    bob.submit(f"message/{notice.identifier}", ("do", "keep"))
    assert "A copy is kept" in bob.page.text
    assert kept(world, notice)
    assert "viaduct" in bob.page.text


# Lists, the feed, JSON


def test_lists_show_what_it_is_and_what_it_says_where_it_is_unlocked(world: World, bob: Browser):
    notice = send_sealed(world, inside())
    bob.get("inbox")
    text = text_of(bob)
    assert "Sealed message" in text
    assert "Sealed ✓ sent by the server of a.example" in text
    assert "lamplighter" not in text
    unlock(bob)
    bob.get("inbox")
    assert "lamplighter" not in bob.page.text, "it was not opened yet"
    opened(bob, notice)
    bob.get("inbox")
    assert "the lamplighter" in bob.page.text
    assert "Alice Liddell alice@a.example" in text_of(bob)
    bob.submit("unlock", ("do", "lock"))
    bob.get("inbox")
    assert "lamplighter" not in bob.page.text
    assert "Sealed message" in bob.page.text


def test_a_subject_that_its_author_left_outside_is_shown(world: World, bob: Browser):
    notice = send_sealed(world, inside(), outer=("Subject: see inside",))
    bob.get("inbox")
    assert "see inside" in bob.page.text
    unlock(bob)
    opened(bob, notice)
    bob.get("inbox")
    assert "see inside" not in bob.page.text
    assert "the lamplighter" in bob.page.text


def test_the_feed_calls_it_what_it_is(world: World):
    send_sealed(world, inside())
    rss = world.feed().text
    assert "<title>Sealed message</title>" in rss
    assert 'type="application/age"' in rss
    (item,) = world.feed(headers={"Accept": "application/feed+json"}).json["items"]
    assert item["title"] == "Sealed message"
    assert item["attachments"][0]["mime_type"] == "application/age"
    assert item["_xhmtp"]["sealed"] is True
    send(world)
    item = world.feed(headers={"Accept": "application/feed+json"}).json["items"][0]
    assert item["_xhmtp"]["sealed"] is False


def api(world: World, path: str, body: object = None) -> Any:
    import json

    given: dict[str, Any] = {}
    if body is not None:
        given = {"method": "POST", "body": json.dumps(body).encode()}
    return call(
        world.b, f"/in/box/bob@b.example/api{path}", authorization=basic("bob@b.example", PASSWORD),
        headers={"Content-Type": "application/json"}, **given,
    )  # fmt: skip


def test_a_program_gets_what_is_inside_by_the_password(world: World):
    switch_on(world)
    notice = send_sealed(world, inside())
    path = f"/messages/{notice.identifier}"
    assert api(world, path).json["sealed"] is True
    assert api(world, path).json["subject"] is None
    assert api(world, f"{path}/unsealed", {"password": PASSWORD}).status_int == 404, (
        "no key is held"
    )
    hold(world)
    answer = api(world, f"{path}/unsealed", {"password": PASSWORD})
    assert (answer.status_int, answer.body) == (200, inside())
    assert answer.content_type == "message/rfc822"
    assert answer.headers["Cache-Control"] == "no-store"
    checks = answer.headers["XHMTP-Checks"]
    assert "sealed=pass" in checks
    assert "author=none" in checks
    assert api(world, f"{path}/unsealed", {"password": "wrong"}).status_int == 401
    assert api(world, f"{path}/unsealed", {"password": "\ud800"}).status_int == 401
    assert api(world, f"{path}/unsealed", {}).status_int == 400
    plain = send(world)
    assert api(world, f"/messages/{plain.identifier}").json["sealed"] is False
    answer = api(world, f"/messages/{plain.identifier}/unsealed", {"password": PASSWORD})
    assert answer.status_int == 422
    broken = send_sealed(world, inside(7), number=7, octets=b"".join(
        seal([inside(7)], [Identity.generate().recipient])))  # fmt: skip
    answer = api(world, f"/messages/{broken.identifier}/unsealed", {"password": PASSWORD})
    assert (answer.status_int, answer.json["detail"]) == (
        422, "it is sealed, and to none of your keys",
    )  # fmt: skip
    choose(world, "always")
    browser = browser_of(world)
    unlock(browser)
    opened(browser, notice)
    answer = api(world, f"{path}/content")
    assert answer.content_type == "application/age"


def test_a_program_that_guesses_is_refused(world: World):
    switch_on(world)
    hold(world)
    path = f"/messages/{send_sealed(world, inside()).identifier}/unsealed"
    for _ in range(world.b.agent.settings.failed_logins):
        assert api(world, path, {"password": "wrong"}).status_int == 401
    assert api(world, path, {"password": PASSWORD}).status_int == 429


# Who is logged in otherwise


class LoggedIn(SiteUsers):
    """A site in which somebody is logged in wherever a cookie of its own says so."""

    def logged_in(self, environ: Mapping[str, Any]) -> str | None:
        found = re.search(r"site=(\w+)", environ.get("HTTP_COOKIE", ""))
        return found[1] if found else None


@pytest.fixture
def at_site(sqlite_world: World) -> Iterator[Browser]:
    """The browser of bob, whom the site has logged in; he has no password of ours."""
    switch_on(sqlite_world)
    old = sqlite_world.b.agent
    agent = make_agent(
        old.settings, resolver=sqlite_world.resolver, network=old.network,
        clock=sqlite_world.clock, monotonic=sqlite_world.clock, users=LoggedIn(),
    )  # fmt: skip
    sqlite_world.b = XHMTP(sqlite_world.b.site, agent.settings, agent=agent)
    agent.accounts.remove(BOB)
    agent.accounts.add(BOB, None)
    yield Browser(sqlite_world.b, HOME, cookies={"site": "bob"})
    agent.database.close()


def test_whom_the_site_logs_in_unlocks_too_and_is_logged_in_by_nothing_else(
    sqlite_world: World, at_site: Browser
):
    bob = at_site
    bob.get("settings/sealing")
    bob.submit("settings/sealing", ("do", "give"), identity=KEY.text(), publish="yes",
               password="a long one", again="a long one")  # fmt: skip
    assert "This site holds your key" in bob.page.text
    assert COOKIE not in bob.cookies
    notice = send_sealed(sqlite_world, inside())
    assert "viaduct" in opened(bob, notice), "giving it has unlocked it"
    keeper = bob.cookies.pop(KEEPER_COOKIE)
    assert "viaduct" not in opened(bob, notice)
    unlock(bob, password="a long one")
    assert "viaduct" in opened(bob, notice)
    # Nobody is logged in by what keeps the keys.
    for cookies in (
        {COOKIE: keeper},
        {KEEPER_COOKIE: keeper},
        {COOKIE: bob.cookies[KEEPER_COOKIE]},
    ):
        stranger = Browser(sqlite_world.b, HOME, cookies=dict(cookies))
        stranger.get("inbox")
        assert "/login" in stranger.path
    # Another, whom the site logs in in the same browser, has nothing unlocked, and is not bob.
    sqlite_world.b.agent.accounts.add(CHERYL, None)
    other = Browser(sqlite_world.b, HOME.replace("bob", "cheryl"),
                    cookies={**bob.cookies, "site": "cheryl"})  # fmt: skip
    other.get("settings/sealing")
    assert other.answer.status_int == 200
    assert not any(("do", "lock") in form.buttons for form in other.page.forms)
    bob.get("inbox")
    bob.submit("unlock", ("do", "lock"))
    assert "viaduct" not in opened(bob, notice)


def test_a_password_for_the_key_is_typed_twice_where_there_is_none_of_ours(
    sqlite_world: World, at_site: Browser
):
    bob = at_site
    for given, words in (
        ({"password": "short", "again": "short"}, "A password has 8 to 1024 characters"),
        ({"password": "a long one", "again": "a long one?"}, "That is not the same as above"),
    ):
        bob.get("settings/sealing")
        bob.submit("settings/sealing", ("do", "make"), **given)
        assert bob.answer.status_int == 400
        assert words in bob.page.text
    assert held_keys.listed(sqlite_world.b.agent.database, BOB) == []


def test_basic_credentials_unlock_in_a_browser_that_keeps_cookies(world: World):
    switch_on(world)
    hold(world)
    notice = send_sealed(world, inside())
    bob = browser_of(world)
    unlock(bob)
    assert KEEPER_COOKIE in bob.cookies
    assert "viaduct" in opened(bob, notice)
    bob.cookies.clear()
    assert "viaduct" not in opened(bob, notice)


# Answers


def draft_rows(world: World) -> list[Any]:
    from sqlalchemy import select

    with world.b.agent.database.reading() as connection:
        return [
            *connection.execute(select(drafts.drafts)).all(),
            *connection.execute(select(drafts.draft_attachments)).all(),
        ]


def test_a_reply_quotes_it_and_its_draft_is_sealed(world: World, bob: Browser):
    notice = send_sealed(
        world, inside(3, "Meet at the viaduct.", "References: <m1@a.example>"), number=3
    )
    unlock(bob, f"message/{notice.identifier}")
    bob.submit(f"message/{notice.identifier}", ("do", "reply-all"))
    form = bob.page.form("compose/" + bob.path.rpartition("/")[2])
    assert form.values("subject") == ["Re: the lamplighter"]
    assert form.values("cc") == ["cheryl@b.example"]
    assert "> Meet at the viaduct." in form.values("text")[0]
    assert form.values("references") == ["<m1@a.example> <m3@a.example>"]
    assert form.values("sealed") == ["yes"]
    assert "the draft is kept sealed too" in text_of(bob)
    bob.submit(form.action, ("do", "save"), text="At the quarry instead.")
    assert "The draft is saved" in bob.page.text
    assert "At the quarry instead." in bob.page.form(form.action).values("text")[0]
    for row in draft_rows(world):
        for word in ("quarry", "viaduct", "lamplighter", "m1@a.example", "cheryl"):
            assert word not in str(row)
    bob.get("drafts")
    assert "Re: the lamplighter" in bob.page.text
    bob.submit("unlock", ("do", "lock"))
    bob.get("drafts")
    assert "Sealed draft" in bob.page.text
    assert "lamplighter" not in bob.page.text
    bob.get(form.action)
    assert "Unlock your sealed messages" in bob.page.text
    bob.submit("unlock", ("do", "unlock"), password=PASSWORD)
    assert "At the quarry instead." in bob.page.form(form.action).values("text")[0]


def test_what_is_typed_after_locking_is_not_kept_in_the_clear_and_not_lost(
    world: World, bob: Browser
):
    notice = send_sealed(world, inside())
    unlock(bob, f"message/{notice.identifier}")
    bob.submit(f"message/{notice.identifier}", ("do", "reply"))
    page, action = bob.answer, bob.page.forms[-1].action
    before = draft_rows(world)
    other = Browser(world.b, HOME, cookies=dict(bob.cookies))
    other.get("inbox")
    other.submit("unlock", ("do", "lock"))
    bob.answer = page
    for button in ("save", "send", "attach"):
        bob.submit(action, ("do", button), text="At the quarry instead.", to="alice@a.example")
        assert bob.answer.status_int == 403
        assert bob.page.form(action).values("text") == ["At the quarry instead."]
        assert "It is not sent, and not kept" in text_of(bob)
        assert draft_rows(world) == before
    unlock(other)
    bob.submit(action, ("do", "save"))
    assert "The draft is saved" in bob.page.text
    assert bob.page.form(action).values("text") == ["At the quarry instead."]


def test_what_is_typed_after_its_draft_was_deleted_stays_sealed(world: World, bob: Browser):
    notice = send_sealed(world, inside())
    unlock(bob, f"message/{notice.identifier}")
    bob.submit(f"message/{notice.identifier}", ("do", "reply"))
    action = bob.page.forms[-1].action
    drafts.delete(world.b.agent.database, BOB, action.rpartition("/")[2])
    bob.submit(action, ("do", "save"), text="At the quarry instead.")
    assert "was deleted meanwhile" in bob.page.text
    assert bob.page.forms[-1].values("sealed") == ["yes"]
    assert draft_rows(world)
    assert "quarry" not in str(draft_rows(world))


def test_a_forward_takes_it_along_sealed(world: World, bob: Browser):
    body = (
        "--edge\r\nContent-Type: text/plain\r\n\r\nSee the plan.\r\n--edge\r\nContent-Type: "
        "application/pdf\r\n\r\n%PDF viaduct\r\n--edge--"
    )
    message = inside(1, body, 'Content-Type: multipart/mixed; boundary="edge"')
    notice = send_sealed(world, message)
    unlock(bob, f"message/{notice.identifier}")
    bob.submit(f"message/{notice.identifier}", ("do", "forward"))
    assert "message.eml" in bob.page.text
    identifier = bob.path.partition("?")[0].rpartition("/")[2]
    for row in draft_rows(world):
        assert "viaduct" not in str(row)
        assert "message.eml" not in str(row)
    database = world.b.agent.database
    boxes = [SecretBox.of(KEY.secret, "drafts")]
    draft = drafts.find(database, BOB, identifier, boxes)
    (attachment,) = draft.attachments
    assert (attachment.name, attachment.type, attachment.size) == (
        "message.eml", "message/rfc822", len(message),
    )  # fmt: skip
    assert drafts.octets_of(database, draft.attachments) == {attachment.identifier: message}
    with pytest.raises(Locked):
        drafts.find(database, BOB, identifier)
    drafts.detach(database, BOB, identifier, attachment.identifier)
    assert drafts.find(database, BOB, identifier, boxes).attachments == ()


def test_a_sealed_draft_stays_sealed_whoever_saves_it(world: World):
    database = world.b.agent.database
    boxes = [SecretBox.of(KEY.secret, "drafts")]
    fields = drafts.DraftFields(text="quarry")
    identifier = drafts.save(database, BOB, fields, 1.0, boxes=boxes, sealed=True)
    drafts.save(database, BOB, fields, 2.0, identifier, boxes=boxes)
    assert "quarry" not in str(draft_rows(world))
    before = draft_rows(world)
    others = [SecretBox.of(OTHER.secret, "drafts")]
    for doing in (
        lambda: drafts.save(database, BOB, fields, 3.0, identifier),
        lambda: drafts.save(database, BOB, fields, 3.0, sealed=True),
        lambda: drafts.find(database, BOB, identifier, others),
        lambda: drafts.attach(database, BOB, identifier, "x", "text/plain", b"quarry"),
    ):
        with pytest.raises(Locked):
            doing()
    assert draft_rows(world) == before
    (draft,) = drafts.listed(database, BOB, boxes=others)
    assert (draft.sealed, draft.locked, draft.fields) == (True, True, drafts.DraftFields())


def test_a_sealed_draft_moves_as_it_is_kept(world: World, bob: Browser):
    from xhmtp_wsgi.sender.drafts_transfer import drafts_of, take_draft

    message = inside(1, "Meet at the viaduct.", "Content-Type: application/pdf")
    notice = send_sealed(world, message)
    unlock(bob, f"message/{notice.identifier}")
    bob.submit(f"message/{notice.identifier}", ("do", "forward"))
    written: dict[str, bytes] = {}
    database = world.b.agent.database
    with database.reading() as connection:
        (given,) = drafts_of(connection, BOB, lambda name, octets: written.update({name: octets}))
    assert "lamplighter" not in str((given, written))
    drafts.delete(database, BOB, given["id"])
    with database.transaction() as connection:
        assert take_draft(connection, BOB, given, lambda name, _: written[name])
    assert "Fwd: the lamplighter" in bob.get(f"compose/{given['id']}").text
    assert "message.eml" in bob.answer.text
    boxes = [SecretBox.of(KEY.secret, "drafts")]
    draft = drafts.find(database, BOB, given["id"], boxes)
    assert list(drafts.octets_of(database, draft.attachments).values()) == [message]


def test_a_reply_while_it_is_locked_quotes_nothing(world: World, bob: Browser):
    notice = send_sealed(world, inside())
    opened(bob, notice)
    bob.submit(f"message/{notice.identifier}", ("do", "reply"))
    assert "is sealed, and your keys are locked" in text_of(bob)
    form = bob.page.forms[-1]
    assert form.values("to") == ["alice@a.example"]
    assert form.values("in_reply_to") == ["<m1@a.example>"]
    assert form.values("text") == [""]


def test_programs_see_of_a_sealed_draft_that_it_is_there(world: World, bob: Browser):
    notice = send_sealed(world, inside())
    unlock(bob, f"message/{notice.identifier}")
    bob.submit(f"message/{notice.identifier}", ("do", "reply"))
    (draft,) = api(world, "/drafts").json["items"]
    assert (draft["sealed"], draft["subject"], draft["text"]) == (True, "", "")
    assert api(world, f"/drafts/{draft['id']}").status_int == 403
    put = call(
        world.b, f"/in/box/bob@b.example/api/drafts/{draft['id']}", method="PUT",
        authorization=basic("bob@b.example", PASSWORD), body=b'{"subject": "x"}',
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert put.status_int == 403
    assert "viaduct" in str(bob.get(f"compose/{draft['id']}").text)


# Settings


def made_key(browser: Browser) -> Identity:
    """The key that the page shows, once."""
    found = re.search(r"AGE-SECRET-KEY-[A-Z0-9-]+", browser.answer.text)
    assert found is not None
    return Identity.parse(found[0])


@pytest.mark.parametrize("kind", ["", HYBRID])
def test_a_key_is_made_shown_once_held_and_published(world: World, kind: str):
    switch_on(world)
    bob = Browser(world.b, HOME)
    bob.log_in(PASSWORD)
    bob.get("settings/sealing")
    bob.submit("settings/sealing", ("do", "make"), kind=kind, password=PASSWORD)
    assert bob.answer.status_int == 200
    assert bob.answer.headers["Cache-Control"] == "no-store"
    identity = made_key(bob)
    assert identity.kind == (kind or "x25519")
    assert "it is not shown again" in text_of(bob)
    database = world.b.agent.database
    assert held_keys.unlock(database, BOB, PASSWORD) == (identity,)
    assert sealing_keys.recipients_of(database, BOB) == (identity.recipient,)
    bob.get("settings/sealing")
    assert "AGE-SECRET-KEY" not in bob.answer.text.replace("AGE-SECRET-KEY-.", "")
    assert "Unlocked in this browser" in text_of(bob)
    notice = send_sealed(world, inside(), identity.recipient)
    assert "viaduct" in opened(bob, notice)


def test_a_key_is_given_as_text_or_as_the_file_of_age_keygen(world: World):
    bob = Browser(world.b, HOME)
    bob.log_in(PASSWORD)
    database = world.b.agent.database
    bob.get("settings/sealing")
    bob.submit("settings/sealing", ("do", "give"), identity=KEY.text().lower(), password=PASSWORD,
               publish=[])  # fmt: skip
    assert "This site holds your key" in bob.page.text
    assert sealing_keys.recipients_of(database, BOB) == (), "he did not want it published"
    assert "not published" in text_of(bob)
    other = Identity.generate()
    (token,) = bob.page.form("settings/sealing", ("do", "give")).values("token")
    file = f"# created: 2026-01-01T00:00:00Z\n# public key: {other.recipient}\n{other.text()}\n"
    parts = {"token": token, "do": "give", "password": PASSWORD, "publish": "yes", "identity": ""}
    body = "".join(
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts.items()
    ) + (
        '--edge\r\nContent-Disposition: form-data; name="file"; filename="key.txt"\r\n\r\n'
        f"{file}\r\n--edge--\r\n"
    )
    bob._ask(HOME + "settings/sealing", "POST", body.encode(),
             "multipart/form-data; boundary=edge", {"Sec-Fetch-Site": "same-origin"})  # fmt: skip
    assert "This site holds your key" in bob.page.text
    assert set(held_keys.unlock(database, BOB, PASSWORD)) == {KEY, other}
    assert sealing_keys.recipients_of(database, BOB) == (other.recipient,)


SSH = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"


NO_KEYS = {
    "nothing": ("", "Give one secret key"),
    "a public key": (str(KEY.recipient), "That is no secret key of age"),
    "a part of one": (KEY.text()[:-1], "That is no secret key of age"),
    "a key of ssh": (SSH, "That is no secret key of age"),
    "two": (f"{KEY.text()}\n{OTHER.text()}", "Give one secret key"),
    "a sealed file": ("-----BEGIN AGE ENCRYPTED FILE-----\nAAAA", "with a passphrase itself"),
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_what_is_no_key_is_refused_and_not_shown_again(sqlite_world: World, name: str):
    identity, words = NO_KEYS[name]
    bob = Browser(sqlite_world.b, HOME)
    bob.log_in(PASSWORD)
    bob.get("settings/sealing")
    bob.submit("settings/sealing", ("do", "give"), identity=identity, password=PASSWORD)
    assert bob.answer.status_int == 400
    assert words in text_of(bob)
    assert not re.search(r"AGE-SECRET-KEY-\w", bob.answer.text)
    assert "OPENSSH" not in bob.answer.text
    assert held_keys.listed(sqlite_world.b.agent.database, BOB) == []


def test_a_key_is_given_with_his_own_password_only(sqlite_world: World):
    bob = Browser(sqlite_world.b, HOME)
    bob.log_in(PASSWORD)
    bob.get("settings/sealing")
    bob.submit("settings/sealing", ("do", "give"), identity=KEY.text(), password="builder?")
    assert "That is not your password" in bob.page.text
    database = sqlite_world.b.agent.database
    assert held_keys.listed(database, BOB) == []
    assert sealing_keys.recipients_of(database, BOB) == ()


def test_keys_of_the_other_kind_are_replaced_only_where_he_says_so(sqlite_world: World):
    database = sqlite_world.b.agent.database
    sealing_keys.add(database, BOB, KEY.recipient, 1.0, replace=False)
    bob = Browser(sqlite_world.b, HOME)
    bob.log_in(PASSWORD)
    bob.get("settings/sealing")
    bob.submit("settings/sealing", ("do", "make"), kind=HYBRID, password=PASSWORD)
    assert bob.answer.status_int == 400
    assert "of the other kind" in bob.page.text
    assert held_keys.listed(database, BOB) == [], "neither held nor published"
    assert sealing_keys.recipients_of(database, BOB) == (KEY.recipient,)
    bob.submit("settings/sealing", ("do", "make"), kind=HYBRID, password=PASSWORD, replace="yes")
    identity = made_key(bob)
    assert sealing_keys.recipients_of(database, BOB) == (identity.recipient,)


def test_what_cannot_be_published_is_not_held(sqlite_world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sealing_keys, "MOST_KEYS", 0)
    bob = Browser(sqlite_world.b, HOME)
    bob.log_in(PASSWORD)
    bob.get("settings/sealing")
    bob.submit("settings/sealing", ("do", "make"), password=PASSWORD)
    assert bob.answer.status_int == 400
    assert not re.search(r"AGE-SECRET-KEY-\w", bob.answer.text)
    assert held_keys.listed(sqlite_world.b.agent.database, BOB) == []


def test_a_key_is_taken_back_with_what_it_has_opened(world: World, bob: Browser):
    notice = send_sealed(world, inside())
    unlock(bob, f"message/{notice.identifier}")
    other = Browser(world.b, HOME)
    other.log_in(PASSWORD)
    unlock(other)
    database = world.b.agent.database
    assert sealed_extracts.insides(database, [KEY], [notice.identifier])
    bob.get("settings/sealing")
    bob.submit("settings/sealing", ("do", "take-back"))
    assert "holds that key no longer" in bob.page.text
    assert "This site holds no key of yours" in bob.page.text
    for browser in (bob, other):
        assert "viaduct" not in opened(browser, notice)
    assert sealed_extracts.insides(database, [KEY], [notice.identifier]) == {}


def test_he_chooses_what_he_seals(world: World, bob: Browser):
    database = world.b.agent.database
    bob.get("settings/sealing")
    assert bob.page.form("settings/sealing", ("do", "choose")).values("seal") == [""]
    bob.submit("settings/sealing", ("do", "choose"), seal="known", subject="outside")
    assert "Saved" in bob.page.text
    assert preferences.get(database, BOB, "seal", "") == "known"
    assert preferences.get(database, BOB, "seal_subject", "") == "outside"
    form = bob.page.form("settings/sealing", ("do", "choose"))
    assert (form.values("seal"), form.values("subject")) == (["known"], ["outside"])
    bob.submit("settings/sealing", ("do", "choose"), seal="", subject=[])
    assert preferences.get(database, BOB, "seal", "x") == ""
    assert preferences.get(database, BOB, "seal_subject", "x") == ""
    for wrong in ({"seal": "sometimes"}, {"subject": "yes"}):
        bob.get("settings/sealing")
        assert bob.submit("settings/sealing", ("do", "choose"), **wrong).status_int == 400


# What he has sent himself


def test_what_he_sent_sealed_is_opened_with_his_own_key(world: World, bob: Browser):
    message = inside().replace(b"alice@a", b"bob@b").replace(b"m1@a", b"m1@b")
    sealed = b"".join(seal([message], [KEY.recipient, Identity.generate().recipient]))
    head = (
        "From: bob@b.example\r\nTo: alice@a.example\r\nMessage-ID: <m1@b.example>\r\n"
        "Content-Type: application/age\r\n\r\n"
    )
    answer = call(
        world.b, "/in/box/bob/", method="POST", body=head.encode() + sealed,
        content_type="message/rfc822", authorization=basic("bob@b.example", PASSWORD),
    )  # fmt: skip
    assert answer.status_int == 201
    path = f"sent/{answer.json['id']}"
    bob.get("sent")
    assert "To: alice@a.example" in bob.page.text
    assert "Sealed message" in bob.page.text
    bob.get(path)
    assert "What it said is sealed" in bob.page.text
    assert "viaduct" not in bob.page.text
    bob.submit("unlock", ("do", "unlock"), password=PASSWORD)
    text = text_of(bob)
    assert "Meet at the viaduct." in text
    assert "the lamplighter" in text
    assert "alice@a.example" in text
    bob.get(f"{path}/source")
    assert bob.answer.body == message
    other = Identity.generate()
    bob.get("settings/sealing")
    bob.submit("settings/sealing", ("do", "take-back"))
    hold(world, other)
    unlock(bob)
    bob.get(path)
    assert "none of the keys that are held here opens it" in text_of(bob)
