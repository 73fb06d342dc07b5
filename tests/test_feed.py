"""bob's feed: readable whatever senders write, in pages that skip nothing, and bob's alone."""

import string
from urllib.parse import urlencode
from xml.etree import ElementTree

import feedparser
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webob import Response

from tests.test_bad_notification import URL, post
from tests.world import BOB, World, basic, call

ATOM = "{http://www.w3.org/2005/Atom}link"
PATH = "/in/box/bob@b.example"


def notify(world: World, number: int, subject: str | None = None) -> Response:
    letters = string.ascii_lowercase
    name = "".join(letters[number // 26**place % 26] for place in range(26))
    url = URL.replace("abcdefghijklmnopqrstuvwxyz", name)
    return post(world, {"url": url, "headers": f"Subject: {subject or number}\r\n"})


def items(answer: Response) -> list[ElementTree.Element]:
    return ElementTree.fromstring(answer.body).findall("./channel/item")


def titles(answer: Response) -> list[str]:
    return [item.findtext("title") or "" for item in items(answer)]


def links(answer: Response) -> dict[str, str]:
    found = ElementTree.fromstring(answer.body).findall(f"./channel/{ATOM}")
    return {link.attrib["rel"]: link.attrib["href"] for link in found}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_no_subject_makes_the_feed_unreadable(sqlite_world: World, subject: str):
    form = urlencode({"url": URL, "headers": "Subject: " + subject}, errors="replace").encode()
    post(sqlite_world, form)
    ElementTree.fromstring(sqlite_world.feed().body)


def test_controls_and_text_that_turns_around_are_left_out(sqlite_world: World):
    notify(sqlite_world, 1, "=?utf-8?q?a=00b=0Bc=E2=80=AEd=EF=BF=BE?= <script>alert(1)</script>")
    title = titles(sqlite_world.feed())[0]
    assert "<script>" in title, "as text, escaped once"
    assert not set("\0\x0b\u202e\ufffe") & set(title)


def test_links_are_only_what_was_checked(sqlite_world: World):
    notify(sqlite_world, 1)
    item = items(sqlite_world.feed())[0]
    enclosure = item.find("enclosure")
    assert enclosure is not None
    assert (item.findtext("link") or "").startswith("http://bob%40b.example:SECRETCODE@")
    assert enclosure.attrib["url"] == item.findtext("link")


def test_a_walk_through_the_pages_meets_each_message_once_while_others_arrive(world: World):
    for number in range(120):
        notify(world, number)
    seen = []
    answer = world.feed()
    arriving = 1000
    while True:
        seen += titles(answer)
        arriving += 1
        notify(world, arriving)
        following = links(answer).get("next")
        if following is None:
            break
        answer = world.feed(following.replace("http://server.b.example", ""))
    assert seen == [str(number) for number in reversed(range(120))]


def test_a_poll_that_finds_nothing_new_is_a_304_without_a_body(world: World):
    notify(world, 1)
    first = world.feed()
    again = world.feed(headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_int, again.body) == (304, b"")
    assert "Content-Type" not in again.headers
    assert "Content-Length" not in again.headers
    notify(world, 2)
    assert world.feed(headers={"If-None-Match": first.headers["ETag"]}).status_int == 200


def test_nothing_is_skipped_between_two_polls(world: World):
    notify(world, 0)
    etag = world.feed().headers["ETag"]
    for number in range(1, 131):
        notify(world, number)
    assert len(titles(world.feed(headers={"If-None-Match": etag}))) == 130
    assert len(titles(world.feed())) == 50


def test_the_guid_is_the_same_for_ever(sqlite_world: World):
    notify(sqlite_world, 1)
    first = items(sqlite_world.feed())[0].findtext("guid")
    notify(sqlite_world, 2)
    assert items(sqlite_world.feed())[1].findtext("guid") == first


def test_json_is_given_if_asked(sqlite_world: World):
    notify(sqlite_world, 1)
    feed = sqlite_world.feed(headers={"Accept": "application/feed+json"}).json
    assert feed["items"][0]["title"] == "1"
    assert feed["items"][0]["_xhmtp"]["checks"]["origin"]["result"] == "pass"


def test_links_go_without_credentials_for_readers_that_leak_them(sqlite_world: World):
    notify(sqlite_world, 1)
    answer = sqlite_world.feed(PATH + "?links=bare")
    assert "SECRETCODE" not in answer.text
    assert "server.a.example/xhmtp/alice" in answer.text


def test_the_feed_is_bobs_alone(sqlite_world: World):
    world = sqlite_world
    token = world.b.agent.accounts.add_token(BOB, "a reader")
    world.b.agent.accounts.add(type(BOB)("cheryl", "b.example"), "shoes")
    right = [
        world.feed(),
        world.feed(authorization=basic("bob", "builder")),
        world.feed(authorization=basic("bob%40b.example", "builder")),
        world.feed(authorization=basic("bob@b.example", token)),
        call(world.b, f"{PATH}?token={token}"),
    ]
    wrong = [
        call(world.b, PATH),
        world.feed(authorization=basic("bob@b.example", "wrong")),
        world.feed(authorization=basic("cheryl@b.example", "shoes")),
        world.feed(authorization=basic("cheryl@b.example", token)),
        call(world.b, f"{PATH}?token=wrong"),
        call(world.b, f"/in/box/cheryl@b.example?token={token}"),
        call(world.b, "/in/box/nobody@b.example", authorization=basic("nobody@b.example", "x")),
    ]
    assert {answer.status_int for answer in right} == {200}
    assert {answer.status_int for answer in wrong} == {401}


def test_a_token_can_do_nothing_else_and_can_be_revoked(sqlite_world: World):
    world = sqlite_world
    accounts = world.b.agent.accounts
    token = accounts.add_token(BOB, "a reader")
    sends = call(world.b, "/in/box/bob/", method="POST", content_type="message/rfc822",
                 authorization=basic("bob@b.example", token))  # fmt: skip
    assert sends.status_int == 401
    accounts.revoke_token(BOB, accounts.tokens(BOB)[0].id)
    assert call(world.b, f"{PATH}?token={token}").status_int == 401


def test_feedparser_finds_nothing_to_complain_about(sqlite_world: World):
    notify(sqlite_world, 1)
    parsed = feedparser.parse(sqlite_world.feed().body)
    assert not parsed.bozo
    assert parsed.entries[0].enclosures[0].type == "message/rfc822"


@pytest.mark.parametrize("query", ["?page=x", "?page=-1", "?until=1e9", "?page=" + "9" * 30])
def test_a_page_that_is_no_number_is_malformed(sqlite_world: World, query: str):
    assert sqlite_world.feed(PATH + query).status_int == 400


def test_a_page_beyond_the_last_is_empty(sqlite_world: World):
    notify(sqlite_world, 1)
    assert titles(sqlite_world.feed(PATH + "?page=5")) == []
