"""A batch on the wire: the form, its answers and the announcement (docs/protocol.md, section 5)."""

import contextlib
import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xhmtp_wsgi.errors import (
    Malformed,
    MalformedMessageURL,
    MalformedNotification,
    TooLarge,
    TooManyNotifications,
    XHMTPError,
)
from xhmtp_wsgi.protocol.batch import (
    OCTETS,
    Announcement,
    Answer,
    answers_as_json,
    parse_answers,
    parse_batch,
)
from xhmtp_wsgi.protocol.notification import Notification

HEADERS = "From: alice@a.example\r\nSubject: hello\r\n"


def url(user: str = "bob", code: str = "SECRET", host: str = "server.a.example") -> str:
    return f"http://{user}%40b.example:{code}@{host}/xhmtp/alice/abcdefghijklmnopqrstuvwxyz"


def parsed(*fields: tuple[str, str], most: int = 10) -> list[Notification | XHMTPError]:
    body = urlencode(fields).encode()
    return parse_batch(body, domain="b.example", header_limit=16384, most=most)


def test_headers_hold_for_each_url_up_to_the_next_headers():
    other = HEADERS.replace("hello", "another")
    found = parsed(
        ("headers", HEADERS), ("url", url()), ("url", url("carol")), ("ignored", "x"),
        ("headers", other), ("url", url("dave")),
    )  # fmt: skip
    told = [one for one in found if isinstance(one, Notification)]
    assert [(str(one.url.recipient), one.values["subject"]) for one in told] == [
        ("bob@b.example", "hello"), ("carol@b.example", "hello"), ("dave@b.example", "another"),
    ]  # fmt: skip


def test_what_is_wrong_with_one_is_said_of_that_one_alone():
    found = parsed(
        ("headers", HEADERS), ("url", url()), ("url", "http://nobody/"),
        ("url", url().replace("b.example", "c.example")),
        ("headers", "no header"), ("url", url("carol")), ("url", url("dave")),
        ("headers", "Subject: " + "x" * 20000), ("url", url("erin")),
        ("headers", HEADERS), ("url", url("frank")),
    )  # fmt: skip
    assert [type(one) for one in found] == [
        Notification, MalformedMessageURL, MalformedNotification, MalformedNotification,
        MalformedNotification, TooLarge, Notification,
    ]  # fmt: skip
    assert "SECRET" not in " ".join(str(one) for one in found if isinstance(one, XHMTPError))


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("headers", HEADERS)],
        [("url", url()), ("headers", HEADERS)],
        [("headers", HEADERS), ("url", url()), ("url", url(host="server.c.example"))],
        [("headers", HEADERS), ("url", url()), ("url", url().replace("http:", "https:"))],
        [("headers", HEADERS), ("url", url()),
         ("headers", HEADERS.replace("a.example", "c.example")), ("url", url("carol"))],
        [("headers", HEADERS), ("url", url()), ("headers", "Subject: x\r\n"), ("url", url("c"))],
    ],
    ids=["empty", "no url", "no headers", "two hosts", "two schemes", "two domains", "no From"],
)  # fmt: skip
def test_what_is_no_batch_is_refused_whole(fields: list[tuple[str, str]]):
    with pytest.raises(MalformedNotification):
        parsed(*fields)


def test_more_than_are_taken_at_once_are_refused_whole():
    fields = [("headers", HEADERS), *(("url", url(code=f"C{number}")) for number in range(11))]
    with pytest.raises(TooManyNotifications, match="11 notifications; 10 are"):
        parsed(*fields)
    assert len(parsed(*fields, most=11)) == 11


@given(st.binary(max_size=300) | st.builds(
    lambda fields: urlencode(fields).encode(),
    st.lists(st.tuples(
        st.sampled_from(["url", "headers", "other"]),
        st.sampled_from([url(), url("carol"), HEADERS, "", "From: x@y"]) | st.text(max_size=50),
    ), max_size=14),
))  # fmt: skip
def test_any_octets_are_taken_or_refused_and_nothing_else(body: bytes):
    with contextlib.suppress(Malformed, TooManyNotifications):
        found = parse_batch(body, domain="b.example", header_limit=1000, most=10)
        assert 0 < len(found) <= 10


answers = st.builds(
    Answer,
    st.integers(100, 599),
    st.text(max_size=20),
    st.none() | st.text(max_size=20),
    st.none() | st.integers(0, 10**9),
)


@given(st.lists(answers, min_size=1, max_size=5))
def test_answers_are_read_as_they_were_given(given: list[Answer]):
    body = json.dumps(answers_as_json(given)).encode()
    assert parse_answers(body, len(given)) == given
    assert parse_answers(body, len(given) + 1) is None
    assert parse_answers(body[:-1], len(given)) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["answers", "status", "detail", "location", "retry-after"]), inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode())
       | json_values.map(lambda value: json.dumps({"answers": [value]}).encode()))  # fmt: skip
def test_any_answer_is_understood_or_not(body: bytes):
    found = parse_answers(body, 1)
    if found is not None:
        (one,) = found
        assert 100 <= one.status <= 599
        assert type(one.detail) is str


def test_a_nested_answer_is_none():
    assert parse_answers(b'{"answers": ' + b"[" * 100_000, 1) is None


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("100;octets=2000", Announcement(100, 2000)),
        ("100", Announcement(100, OCTETS)),
        (" 7; octets=9;new=1 ", Announcement(7, 9)),
        (None, None), ("", None), ("0", None), ("-5", None), ("100.5", None), ("many", None),
        ("100, 200", None), ("100;octets=0", None), ("100;octets=x", None), ("?1", None),
        ("9" * 300, None), ("100;octets=?1", None), ("\u0661", None),
    ],
)  # fmt: skip
def test_an_announcement_is_an_item_or_it_is_none(field: str | None, found: Announcement | None):
    assert Announcement.parse(field) == found


@given(st.text(max_size=250))
def test_any_field_is_an_announcement_or_none(field: str):
    found = Announcement.parse(field)
    assert found is None or (found.notifications > 0 and found.octets > 0)


def test_what_is_announced_is_read_as_it_was_meant():
    assert Announcement.parse(str(Announcement(100, 1 << 20))) == Announcement(100, 1 << 20)
