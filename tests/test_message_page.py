"""A message in a browser: a page of text, in which nothing can run, load or lead anywhere."""

from functools import cache
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webob import Request

from tests.processor_time import taken
from tests.world import BOB, World, basic, call
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.sender.html_text import text_in
from xhmtp_wsgi.sender.message_page import MOST, message_page, wants_page

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
HTML = "From: a@a.example\r\nSubject: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
ALLOWED = {"html", "head", "meta", "title", "style", "body", "main", "h1", "dl", "dt", "dd", "bdi",
           "pre", "p", "section", "kbd"}  # fmt: skip


class Checker(HTMLParser):
    """Fails for any element or attribute that the page itself does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED, tag
        for name, _ in attrs:
            assert (tag, name) in {
                ("html", "lang"), ("meta", "charset"), ("meta", "name"), ("meta", "content"),
                ("h1", "dir"), ("pre", "dir"),
            }, (tag, name)  # fmt: skip

    def handle_data(self, data: str) -> None:
        self.text += data


def harmless(octets: bytes) -> str:
    """The page's text, once the page is known to be harmless."""
    checker = Checker()
    checker.feed(message_page(octets, truncated=False))
    checker.close()
    return checker.text


HOSTILE = {
    "script": HTML + "<script>alert(1)</script>shown",
    "a handler": HTML + "<b onclick='x()'>shown</b>",
    "a picture": HTML + "<img src=http://evil.example/x onerror=alert(1)>shown",
    "svg": HTML + "<svg onload=alert(1)><script>x</script></svg>shown",
    "a form": HTML + "<form action=http://evil.example><input name=x></form>shown",
    "a frame": HTML + "<iframe src=http://evil.example></iframe>shown",
    "meta": HTML + "<meta http-equiv=refresh content='0;url=http://evil.example'>shown",
    "base": HTML + "<base href=http://evil.example>shown",
    "style": HTML + "<style>@import url(http://evil.example)</style>shown",
    "a link": HTML + "<a href='javascript:alert(1)'>shown</a>",
    "object": HTML + "<object data=x></object><embed src=x>shown",
    "unclosed": HTML + "<div><p>shown<a href=x",
    "a comment": HTML + "<!-- <script> -->shown<!--",
    "CDATA": HTML + "<![CDATA[<script>]]>shown",
    "markup in the subject": "Subject: </title><script>alert(1)</script>\r\n\r\nshown",
    "markup in From": "From: <script>alert(1)</script>\r\n\r\nshown",
    "markup in the text": "Subject: x\r\n\r\n</pre><script>alert(1)</script>shown",
    "a NUL": "Subject: x\r\n\r\na\0shown",
    "an escape": "Subject: x\r\n\r\n\x1b[31mshown",
    "text turned around": "Subject: x\r\n\r\n\u202eshown",
    "an unknown charset": "Content-Type: text/plain; charset=nothing\r\n\r\nshown",
    "a charset that is a codec": "Content-Type: text/plain; charset=hex\r\n\r\nshown",
    "bad base64": "Content-Transfer-Encoding: base64\r\n\r\n!!shown!!",
    "no header": "\r\n\r\nshown",
    "no end": "Content-Type: multipart/mixed; boundary=e\r\n\r\n--e\r\n\r\nshown",
    "no boundary": "Content-Type: multipart/mixed\r\n\r\nshown",
    "a huge header": "Subject: " + "x" * 200_000 + "\r\n\r\nshown",
    "200,000 fields": "A: b\r\n" * 200_000 + "\r\nshown",
    "a line that is no field": "Subject: x\r\nno colon\r\n\r\nshown",
    "a head without an end": HTML + "<html><head><title>t</title><body><p>shown",
    "an svg without an end": HTML + "<svg><p>shown",
    "a number of 5,000 digits": HTML + "&#" + "9" * 5000 + ";shown",
    "a quote in a tag": HTML + "<p don't>shown</p>",
    "quotes and CRLF in a name": (
        "Content-Type: multipart/mixed; boundary=e\r\n\r\n--e\r\nContent-Disposition: attachment; "
        "filename*=utf-8''%0d%0a%22%3e%3cscript%3e%e2%80%ae.exe\r\n\r\nx\r\n--e\r\n\r\nshown"
    ),
    "an attachment's name": (
        "Content-Type: multipart/mixed; boundary=e\r\n\r\n--e\r\nContent-Disposition: attachment; "
        'filename="../<script>\u202egpj.exe"\r\n\r\nx\r\n--e\r\n\r\nshown\r\n--e--\r\n'
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mail_is_shown_as_text(name: str):
    text = harmless(HOSTILE[name].encode())
    if name != "bad base64":
        assert "shown" in text
    assert "\u202e" not in text
    assert "\x1b" not in text


def test_what_a_link_hides_is_told():
    assert text_in('<a href="http://evil.example/">your bank</a>') == (
        "your bank <http://evil.example/>"
    )


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("Hello&nbsp;world", "Hello world"),
        ("<p>one<p>two", "one\ntwo"),
        ("a < b <i>c</i>", "a < b c"),
        ("<pre>one\ntwo</pre>", "one\ntwo"),
        ("one\ntwo", "one two"),
        ("<a href=http://evil.example/>your bank", "your bank <http://evil.example/>"),
        ("<a class='x' HREF='http://e.example/?a&amp;b'>c</a>d", "c <http://e.example/?a&b>d"),
        ("<style>x</style  >y<SCRIPT>z</Script>", "y"),
        ("<!-->shown<!-- > hidden -->", "shown"),
    ],
)
def test_the_text_of_html(html: str, text: str):
    assert text_in(html) == text


def test_utf_8_in_a_header_is_shown():
    text = harmless("From: Jürgen <j@a.example>\r\nSubject: Grüße\r\n\r\nx".encode())
    assert "Jürgen" in text
    assert "Grüße" in text


def test_a_space_that_does_not_break_is_a_space():
    assert "one two" in harmless("Subject: x\r\n\r\none\u00a0two".encode())


def test_an_unknown_charset_is_told():
    text = harmless(b"Content-Type: text/plain; charset=nothing\r\n\r\ngr\xfc\xdfe")
    assert "not known here (nothing)" in text
    assert "gr\u00fc\u00dfe" in text


def test_another_message_in_it_is_listed_and_not_taken_for_it():
    text = harmless(
        b"Content-Type: multipart/mixed; boundary=e\r\n\r\n--e\r\nContent-Type: message/rfc822\r\n"
        b"\r\nFrom: mallory@c.example\r\n\r\nanother's words\r\n--e--\r\n"
    )
    assert "message/rfc822" in text
    assert "another's words" not in text


def test_what_is_attached_is_listed_after_too_much_text():
    text = harmless(
        b"Content-Type: multipart/mixed; boundary=e\r\n\r\n--e\r\n\r\n" + b"y" * (600 << 10)
        + b"\r\n--e\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\nx\r\n--e--\r\n"
    )  # fmt: skip
    assert "more text" in text
    assert "a.pdf" in text


def _nested(depth: int) -> bytes:
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=e%d\r\n\r\n--e%d\r\n" % (level, level)
        for level in range(depth)
    )


def test_parts_that_are_too_deep_are_told():
    assert "nested more than 10 deep" in harmless(_nested(11) + b"\r\ndeep words")
    assert "deep words" in harmless(_nested(10) + b"\r\ndeep words")


_MIXED = b"Content-Type: multipart/mixed; boundary=e\r\n\r\n"
SLOW = {
    "deep": (_nested(300) + b"\r\n", b"\n"),
    "ten deep": (_nested(10) + b"\r\n", b"\n"),
    "ten deep, dashes": (_nested(10) + b"\r\n", b"--e9 x\n"),
    "parts": (_MIXED, b"--e\r\n\r\n"),
    "parts of no parts": (
        _MIXED, b"--e\nContent-Type: multipart/mixed; boundary=f\n\n--f--\n"
    ),
    "parts of parameters": (
        _MIXED, b"--e\nContent-Disposition: attachment" + b';a="b' * 2000 + b"\n\nx\n"
    ),
    "parameters": (b"Content-Type: text/plain", b';a="b'),
    "numbered parameters": (b"Content-Type: text/plain", b";a*0=b"),
    "fields": (b"", b"a:b\n"),
    "folds": (b"Subject: x\n", b" y\n"),
    "encoded words": (b"Subject: x", b" =?utf-8?q?a?="),
    "punycode": (b"Content-Type: text/plain; charset=punycode\r\n\r\n", b"a"),
    "punycode, the other half": (
        b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"a" * (MOST // 2) + b"-", b"a"
    ),
    "uuencode": (b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 a\n", b"!\n"),
} | {
    f"HTML: {piece}": (HTML.encode(), piece.encode())
    for piece in (
        "<", "</", "<!", "<!--", "<!-- ", "<![", "<![CDATA[", "<?", "<a ", "<a x=", '<a x="',
        "<a x='", "<a><b ", "&", "&#", "&a", "&#9", "<a href=x>", "</a ", "</script", "<!DOCTYPE ",
        "<a\t=", "<script>", "<script></", "<a b='>", "<x/ ", "--!><!--", "<p>", " ", "\n", "<a/",
        "<title>", "= = ", '<a "',
    )
}  # fmt: skip


def seconds(octets: bytes) -> float:
    """What the page of a message takes of the processor."""
    return taken(lambda: message_page(octets, truncated=True))


@cache
def plain_seconds() -> float:
    """The same of one with nothing but text."""
    return seconds(b"Subject: x\r\n\r\n" + b"y" * MOST)


@pytest.mark.parametrize("name", SLOW)
def test_no_message_takes_more_than_in_proportion_to_its_length(name: str):
    """Parsers that are quadratic take minutes for these."""
    head, piece = SLOW[name]
    whole = (head + piece * (MOST // len(piece)))[:MOST]
    assert seconds(whole) < 10 * (seconds(whole[: MOST // 4]) + plain_seconds())


def test_too_many_parts_and_too_much_text_are_told():
    many = "Content-Type: multipart/mixed; boundary=e\r\n\r\n" + "--e\r\n\r\nx\r\n" * 1000 + "--e--"
    assert "more than 100 parts" in harmless(many.encode())
    assert "more text" in harmless(b"Subject: x\r\n\r\n" + b"y" * (600 << 10))
    deep = "".join(
        f"Content-Type: multipart/mixed; boundary=e{n}\r\n\r\n--e{n}\r\n" for n in range(300)
    )
    harmless(deep.encode())


@given(st.binary(max_size=600))
def test_no_octets_make_more_than_a_harmless_page(octets: bytes):
    harmless(octets)
    harmless(b"Content-Type: text/html\r\n\r\n" + octets)
    harmless(b"Content-Type: multipart/mixed; boundary=e\r\n\r\n--e\r\n" + octets)


@pytest.mark.parametrize(
    ("accept", "page"),
    [(BROWSER, True), ("text/html", True), ("*/*", False), (None, False), ("message/rfc822", False),
     ("application/rss+xml, */*;q=0.1", False), ("message/rfc822, text/html;q=0.5", False)],
)  # fmt: skip
def test_a_browser_gets_a_page_and_others_the_message(accept: str | None, page: bool):
    headers = {"Accept": accept} if accept else {}
    assert wants_page(Request.blank("/", headers=headers)) is page


def test_bob_opens_the_url_in_a_browser(world: World):
    world.inject()
    world.notify()
    (notice,) = inbox.page(world.b.agent.database, BOB, newest=1, limit=1)
    url = MessageURL.parse(notice.url)
    code = basic("bob@b.example", url.code)
    answer = call(world.a, url.path, authorization=code, headers={"Accept": BROWSER})
    assert (answer.status_int, answer.content_type) == (200, "text/html")
    assert "Dear Bob" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none';")
    assert "unsafe" not in policy
    assert "Content-Disposition" not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in answer.headers
    source = call(world.a, url.path + "?source=1", authorization=code, headers={"Accept": BROWSER})
    assert source.content_type == "text/plain"
    assert source.headers["X-Content-Type-Options"] == "nosniff"
    assert source.headers["Content-Security-Policy"].startswith("sandbox;")
    assert source.body == call(world.a, url.path, authorization=code).body
    assert call(world.a, url.path, headers={"Accept": BROWSER}).status_int == 401


@pytest.mark.parametrize("accept", ["*/*", "application/rss+xml, */*;q=0.1", None])
def test_curl_and_feed_readers_get_the_message(sqlite_world: World, accept: str | None):
    url = _told(sqlite_world)
    headers = {"Accept": accept} if accept else {}
    code = basic("bob@b.example", url.code)
    answer = call(sqlite_world.a, url.path, authorization=code, headers=headers)
    assert answer.content_type == "message/rfc822"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert "Accept" in answer.headers["Vary"]


def test_a_browser_asks_for_the_head_only(sqlite_world: World):
    url = _told(sqlite_world)
    code, headers = basic("bob@b.example", url.code), {"Accept": BROWSER}
    whole = call(sqlite_world.a, url.path, authorization=code, headers=headers)
    head = call(sqlite_world.a, url.path, method="HEAD", authorization=code, headers=headers)
    assert (head.status_int, head.content_type, head.body) == (200, "text/html", b"")
    assert head.headers["Content-Length"] == str(len(whole.body))


@pytest.mark.parametrize(
    ("query", "status"), [("?%ff", 400), ("?source=%ff", 400), ("?&&=", 200), ("?%", 200)]
)
@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
def test_a_query_that_is_not_utf_8_is_malformed(
    sqlite_world: World, query: str, status: int, accept: str
):
    url = _told(sqlite_world)
    code = basic("bob@b.example", url.code)
    answer = call(sqlite_world.a, url.path + query, authorization=code, headers={"Accept": accept})
    assert answer.status_int == status


def _told(world: World) -> MessageURL:
    world.inject()
    world.notify()
    (notice,) = inbox.page(world.b.agent.database, BOB, newest=1, limit=1)
    return MessageURL.parse(notice.url)
