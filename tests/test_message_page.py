"""A message in a browser: a page of text, in which nothing can run, load or lead anywhere."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webob import Request

from tests.world import BOB, World, basic, call
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.sender.message_page import message_page, text_in, wants_page

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
