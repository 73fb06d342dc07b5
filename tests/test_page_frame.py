"""What all pages have in common: strangers' words are text, headers, errors, assets, templates."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webob import Request, Response

from tests.fakes.browser import ACCEPT, SAME_ORIGIN, Browser, Page
from tests.test_bad_notification import URL, post
from tests.test_pages import HOME, listed, logged_in, send
from tests.world import BOB, World, basic, call
from xhmtp_wsgi import XHMTP, Settings
from xhmtp_wsgi.errors import (
    DatabaseUnavailable,
    MalformedRequest,
    SettingsError,
    TooLarge,
    UnsupportedType,
    XHMTPError,
)
from xhmtp_wsgi.recipient import filters, mailbox
from xhmtp_wsgi.recipient.filters import Action
from xhmtp_wsgi.web import folders, pages, words
from xhmtp_wsgi.web.colour import DARK, LIGHT, Colour
from xhmtp_wsgi.web.form import MOST_FIELDS, MOST_OCTETS, Form, read_form
from xhmtp_wsgi.web.page import Page as PageOfOurs
from xhmtp_wsgi.web.visit import Visit

ALLOWED_ELEMENTS = {
    "html", "head", "meta", "title", "link", "script", "body", "a", "header", "p", "form", "label",
    "input", "button", "div", "nav", "ul", "ol", "li", "span", "main", "h1", "h2", "h3", "time",
    "bdi", "section", "select", "option", "datalist", "textarea", "fieldset", "legend", "b", "q",
}  # fmt: skip
HOSTILE = [
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)\" x=\"",
    "' onfocus='alert(1)' autofocus='",
    "</textarea><svg onload=alert(1)>",
    "</option></select><iframe src=//evil.example>",
    "<!--", "]]>", "&lt;b&gt;", "{{ 7 * 7 }}", "{% raw %}", "javascript:alert(1)", "\u202eevil",
]  # fmt: skip
LISTS = ("inbox", "starred", "folder?name=archive", "quarantine", "search?q=alert")


@pytest.fixture
def bob(sqlite_world: World) -> Browser:
    """bob's browser, in which he has logged in."""
    return logged_in(sqlite_world)


def assert_harmless(answer: Response) -> None:
    """Nothing in the page but elements of ours, and nothing that runs or leads out."""
    for tag, given_ in Page(answer.text).elements:
        assert tag in ALLOWED_ELEMENTS, tag
        for name, value in given_.items():
            assert not name.startswith("on"), name
            assert name not in ("style", "srcdoc", "ping", "formtarget", "background"), name
            if name in ("href", "src", "action", "formaction"):
                assert value.startswith(("/in/box/", "#main")), value
        if tag == "script":
            assert given_["src"].startswith("/in/box/assets/script-")


def test_whatever_strangers_wrote_is_text(sqlite_world: World, bob: Browser):
    database = sqlite_world.b.agent.database
    for number, hostile in enumerate(HOSTILE):
        name = "abcdefghijklmnopqrstuvwxyz"
        url = URL.replace(name, name[number:] + name[:number])
        for field in (f"Subject: {hostile}", f'From: "{hostile}" <alice@a.example>'):
            if "From" not in field or '"' not in hostile:
                post(sqlite_world, {"url": url, "headers": f"{field}\r\n"})
                url = url.replace("/$", "/")
    found = mailbox.listed(database, BOB, mailbox.Wanted(), limit=100)
    assert len(found) == len(HOSTILE)
    chosen = [notice.identifier for notice in found]
    mailbox.set_starred(database, BOB, chosen, 1.0, starred=True)
    for path in LISTS:
        assert_harmless(bob.get(path))
    bob.get("inbox")
    for hostile in HOSTILE[:-1]:
        assert hostile in bob.page.text, "to be read as it was written"
    assert "\u202e" not in bob.page.text


def test_whatever_is_typed_is_text(sqlite_world: World, bob: Browser):
    send(sqlite_world, "one")
    for hostile in HOSTILE:
        assert_harmless(bob.get("search?q=" + quote(hostile)))
        assert_harmless(bob.get("folder?name=" + quote(hostile)))
        assert_harmless(bob.get("inbox?note=" + quote(hostile)))
        bob.get("settings")
        assert_harmless(bob.submit("settings", keep="never", signature=hostile))
        bob.get("settings/feeds")
        assert_harmless(bob.submit("settings/feeds", ("do", "add"), label=hostile))
        bob.get("settings/filters")
        button = ("do", "add")
        typed = {"whom": "domain", "who": hostile, "what": "refuse"}
        assert_harmless(bob.submit("settings/filters", button, **typed))
        typed = {"whom": "*", "what": "refuse", "where": "subject", "words": hostile}
        bob.get("settings/filters")
        assert_harmless(bob.submit("settings/filters", button, **typed))
        bob.get("settings/keys")
        assert_harmless(bob.submit("settings/keys", button, line=hostile))
        assert_harmless(bob.get("nowhere/" + quote(hostile, safe="")))
        assert_harmless(Browser(sqlite_world.b, HOME).get("login?to=" + quote(hostile)))
        bob.get("inbox")
        (one,) = [given["value"] for _, given in bob.page.elements if given.get("name") == "notice"]
        bob.submit("change", ("do", "move"), notice=one, folder=hostile.replace("/", "|"))
        assert_harmless(bob.answer)
        folder = hostile.replace("/", "|")
        bob.get("folder?name=" + quote(folder))
        bob.submit("change", ("do", "move"), notice=one, folder="inbox")


EVERY_PAGE = (
    "inbox", "folder?name=archive", "starred", "search?q=x", "quarantine", "settings",
    "settings/password", "settings/feeds", "settings/filters", "settings/keys", "login", "nowhere",
)  # fmt: skip


def test_every_page_has_headers_that_hold_strangers_words(sqlite_world: World, bob: Browser):
    for path in EVERY_PAGE:
        answer = call(sqlite_world.b, HOME + path, authorization=bob.headers["Authorization"],
                      headers={"Accept": ACCEPT})  # fmt: skip
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy
        assert "form-action 'self'" in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        # "no-referrer" would have a form say "Origin: null"; this tells other sites nothing either.
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert {"Cookie", "Authorization", "Accept"} <= {
            one.strip() for one in answer.headers["Vary"].split(",")
        }
        assert "style=" not in answer.text
        assert "<style" not in answer.text


def test_every_page_is_whole(sqlite_world: World, bob: Browser):
    send(sqlite_world, "one")
    titles = set()
    for path in EVERY_PAGE:
        answer = call(sqlite_world.b, HOME + path, authorization=bob.headers["Authorization"],
                      headers={"Accept": ACCEPT})  # fmt: skip
        page = Page(answer.text)
        tags = [tag for tag, _ in page.elements]
        assert [tags.count(one) for one in ("html", "title", "main", "h1")] == [1, 1, 1, 1], path
        assert page.elements[0] == ("html", {"lang": "en", "dir": "ltr"})
        titles.add(answer.text.partition("<title>")[2].partition("</title>")[0])
        labelled = {one["for"] for tag, one in page.elements if tag == "label" and "for" in one}
        identified = [one["id"] for _, one in page.elements if "id" in one]
        assert len(identified) == len(set(identified)), path
        assert labelled <= set(identified), path
    assert len(titles) == len(EVERY_PAGE)


def test_a_head_is_asked_for_alone(sqlite_world: World, bob: Browser):
    whole = call(sqlite_world.b, HOME + "inbox", **_as(bob))
    head = call(sqlite_world.b, HOME + "inbox", method="HEAD", **_as(bob))
    assert (head.status_int, head.body) == (200, b"")
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]


def _as(bob: Browser, accept: str = ACCEPT) -> dict[str, Any]:
    return {
        "authorization": bob.headers["Authorization"],
        "headers": {"Accept": accept, **SAME_ORIGIN},
        "content_type": "application/x-www-form-urlencoded",
    }


# Errors


ERRORS: Mapping[str, tuple[str, str, int]] = {
    "no such page": ("GET", "nowhere", 404),
    "no such part": ("GET", "settings/nowhere", 404),
    "a segment too many": ("GET", "settings/keys/x", 404),
    "a NUL": ("GET", "inbox/%00", 404),
    "no such method": ("POST", "inbox", 405),
    "nothing to see": ("GET", "change", 405),
    "logging out by a link": ("GET", "logout", 405),
    "no token": ("POST", "settings", 403),
}


def test_an_error_is_a_page_for_people_and_json_for_programs(sqlite_world: World, bob: Browser):
    for name, (method, path, status) in ERRORS.items():
        answer = call(sqlite_world.b, HOME + path, method=method, body=b"", **_as(bob))
        assert (answer.status_int, answer.content_type) == (status, "text/html"), name
        assert "To the inbox" in Page(answer.text).links
        assert_harmless(answer)
        told = call(sqlite_world.b, HOME + path, method=method, **_as(bob, "application/json"))
        assert (told.status_int, told.content_type) == (status, "application/problem+json"), name
        assert told.headers.get("Allow") == answer.headers.get("Allow")


def test_a_page_of_another_agents_user_says_so(sqlite_world: World, bob: Browser):
    answer = call(sqlite_world.b, "/in/box/alice%40a.example/inbox", headers={"Accept": ACCEPT})
    assert (answer.status_int, answer.content_type) == (421, "text/html")
    assert "another site" in answer.text


def test_a_database_that_is_gone_is_told_of_and_nothing_more(
    sqlite_world: World, bob: Browser, monkeypatch: pytest.MonkeyPatch
):
    def gone(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("the database cannot be used", "at /secret/path")

    monkeypatch.setattr(mailbox, "listed", gone)
    answer = bob.get("inbox")
    assert (answer.status_int, answer.content_type) == (503, "text/html")
    assert int(answer.headers["Retry-After"]) > 0
    assert "secret" not in answer.text
    assert "database" not in answer.text


def test_a_fault_of_ours_is_logged_and_not_shown(
    sqlite_world: World,
    bob: Browser,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    def broken(visit: Visit) -> Response:
        raise ZeroDivisionError

    monkeypatch.setattr(pages, "PAGES", {"inbox": PageOfOurs(get=broken)})
    with caplog.at_level(logging.ERROR):
        answer = bob.get("inbox")
    assert (answer.status_int, answer.content_type) == (500, "text/html")
    assert "ZeroDivisionError" not in answer.text
    assert "ZeroDivisionError" in caplog.text
    program = call(sqlite_world.b, HOME + "inbox", authorization=bob.headers["Authorization"])
    assert (program.status_int, program.content_type) == (500, "application/problem+json")


# The feed, and the way to the pages


@pytest.mark.parametrize(
    ("accept", "page"),
    [(ACCEPT, True), ("text/html", True), ("*/*", False), ("", False), ("text/xml", False),
     ("application/rss+xml, application/xml;q=0.9, text/html;q=0.8, */*;q=0.7", False),
     ("application/atom+xml,application/rss+xml,text/html", False),
     ("application/feed+json, text/html", False)],
)  # fmt: skip
def test_a_browser_is_led_to_the_pages_and_a_reader_gets_the_feed(
    sqlite_world: World, accept: str, page: bool
):
    answer = call(
        sqlite_world.b, "/in/box/bob@b.example", headers={"Accept": accept},
        authorization=basic("bob@b.example", "builder"),
    )  # fmt: skip
    assert answer.status_int == (303 if page else 200)
    if page:
        assert answer.headers["Location"] == HOME + "inbox"


def test_links_have_the_prefix_that_the_outside_sees(sqlite_world: World):
    """Below a mount that is not seen from outside, as where a web server strips a path."""
    request = Request.blank(HOME + "login", headers={"Accept": ACCEPT})
    request.environ["SCRIPT_NAME"] = "/mount"
    answer = request.get_response(sqlite_world.b)
    assert Page(answer.text).form("login").action == HOME + "login"


# Assets


def test_assets_are_kept_for_ever_under_names_that_change(sqlite_world: World):
    page = Page(call(sqlite_world.b, HOME + "login", headers={"Accept": ACCEPT}).text)
    found = [one.get("href") or one.get("src") for tag, one in page.elements
             if tag in ("link", "script")]  # fmt: skip
    kinds = {"text/css", "text/javascript", "image/svg+xml"}
    assert len(found) == 4
    for path in found:
        assert path is not None
        answer = call(sqlite_world.b, path)
        assert answer.status_int == 200
        assert answer.content_type in kinds
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in answer.headers
        wrong = path.replace("-", "-0", 1)
        assert call(sqlite_world.b, wrong).status_int == 404


@pytest.mark.parametrize("name", ["style.css", "..%2Fstyle.css", "__init__.py", "%00.css"])
def test_nothing_but_assets_is_served(sqlite_world: World, name: str):
    assert call(sqlite_world.b, f"/in/box/assets/{name}").status_int == 404


# What a site settles


def with_settings(world: World, **settings: Any) -> Browser:
    """bob's browser, before an agent with these settings."""
    agent = replace(world.b.agent, settings=replace(world.b.agent.settings, **settings))
    world.b = XHMTP(world.b.site, agent.settings, agent=agent)
    return logged_in(world)


def test_pages_have_the_sites_name_or_the_domains(sqlite_world: World, bob: Browser):
    bob.get("inbox")
    assert "<title>Inbox – b.example</title>" in bob.answer.text
    named = with_settings(sqlite_world, site_name="Bob & <Sons>")
    named.get("inbox")
    assert "<title>Inbox – Bob &amp; &lt;Sons&gt;</title>" in named.answer.text


def test_a_site_replaces_a_template_or_builds_on_ours(sqlite_world: World, tmp_path: Path):
    (tmp_path / "layout.html").write_text(
        '{% extends "ours/layout.html" %}{% block body %}<p>The club</p>{{ super() }}{% endblock %}'
    )
    (tmp_path / "error.html").write_text("<h1>Oh: {{ title }}</h1>{{ detail }}")
    bob = with_settings(sqlite_world, templates=str(tmp_path))
    send(sqlite_world, "<b>one")
    bob.get("inbox")
    assert "<p>The club</p>" in bob.answer.text
    assert listed(bob) == ["&lt;b&gt;one"], "a site's own templates escape as ours do"
    assert "<h1>Oh: There is no such page</h1>" in bob.get("nowhere").text
    (tmp_path / "error.html").write_text("changed")
    assert bob.get("nowhere").text == "changed", "without a restart"


def test_settings_name_a_directory_relative_to_their_file(tmp_path: Path):
    file = tmp_path / "xhmtp.toml"
    file.write_text('templates = "ours"\n[domain."a.example"]\n')
    assert Settings.load(file).templates == str(tmp_path / "ours")


@pytest.mark.parametrize("colour", ["red", "#12", "#12345g", "#123456;", "", 5])
def test_a_colour_that_is_none_is_refused(colour: object):
    with pytest.raises(SettingsError, match="accent_colour: "):
        Settings.load({"accent_colour": colour, "domain": {"a.example": {}}})


@given(st.integers(0, 0xFFFFFF))
def test_any_colour_can_be_read(number: int):
    colour = Colour.parse(f"#{number:06x}")
    for shade, ground in (
        (colour.readable_on_light(), Colour(*LIGHT)),
        (colour.readable_on_dark(), Colour(*DARK)),
    ):
        assert shade.contrast(ground) >= 4.5
        assert shade.ink().contrast(shade) >= 4.5


def test_a_colour_that_can_be_read_stays():
    assert str(Colour.parse("#1f5f8b").readable_on_light()) == "#1f5f8b"
    assert Colour(0, 0, 0).contrast(Colour(255, 255, 255)) == pytest.approx(21)


def test_the_sites_colour_is_in_its_sheet(sqlite_world: World):
    bob = with_settings(sqlite_world, accent_colour="#7a1f5c")
    bob.get("inbox")
    sheet = next(one["href"] for _, one in bob.page.elements if "site-" in one.get("href", ""))
    assert "--accent:#7a1f5c;--on-accent:#ffffff" in call(sqlite_world.b, sheet).text


# Forms


def form(body: bytes, kind: str, most: int = MOST_OCTETS, **environ: str) -> Form:
    """A form as it is read of a request."""
    request = Request.blank("/", method="POST", body=body)
    request.environ.update({"CONTENT_TYPE": kind, **environ})
    return read_form(request, most)


MULTIPART = "multipart/form-data; boundary=edge"


def part(name: str, value: bytes, extra: str = "") -> bytes:
    head = f'--edge\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def test_a_form_has_texts_and_files():
    body = part("a", "grüße\0".encode()) + part("f", b"\0\xff\r\n", '; filename="x\u202e.pdf"')
    body += part("f", b"", '; filename=""') + part("f", b"2", '; filename="y"') + b"--edge--\r\n"
    read = form(body, MULTIPART)
    assert read.texts("a") == ["grüße"]
    assert [(one.name, one.octets) for one in read.files("f")] == [
        ("x\u202e.pdf", b"\0\xff\r\n"), ("y", b"2"),
    ]  # fmt: skip
    assert read.text("f", "none") == "none", "a file is no text"
    plain = form(b"a=1&a=2&b=%00x%FF&n=12&m=-1", "application/x-www-form-urlencoded")
    assert plain.texts("a") == ["1", "2"]
    assert plain.text("b") == "x\ufffd"
    assert (plain.number("n"), plain.number("m"), plain.number("z")) == (12, None, None)
    assert plain.files("a") == []


BAD_FORMS: Mapping[str, tuple[bytes, str, type[XHMTPError]]] = {
    "JSON": (b"{}", "application/json", UnsupportedType),
    "nothing": (b"", "", UnsupportedType),
    "no boundary": (b"x", "multipart/form-data", MalformedRequest),
    "an empty boundary": (b"x", "multipart/form-data; boundary=", MalformedRequest),
    "too long": (b"a=" + b"x" * MOST_OCTETS, "application/x-www-form-urlencoded", TooLarge),
    "too many fields": (b"a=&" * (MOST_FIELDS + 1), "application/x-www-form-urlencoded", TooLarge),
    "too many parts": (part("a", b"") * (MOST_FIELDS + 1), MULTIPART, TooLarge),
    "an odd boundary": (b"x", "multipart/form-data; boundary=\u00e9\u00e9", MalformedRequest),
}


@pytest.mark.parametrize("name", BAD_FORMS)
def test_a_form_that_is_none_is_refused(name: str):
    body, kind, error = BAD_FORMS[name]
    with pytest.raises(error):
        form(body, kind)


def test_a_form_that_ends_early_is_refused():
    with pytest.raises(MalformedRequest):
        form(b"a=1", "application/x-www-form-urlencoded", CONTENT_LENGTH="10")
    with pytest.raises(MalformedRequest):
        form(part("a", b"1"), MULTIPART, CONTENT_LENGTH="1000")


@given(st.binary(max_size=300), st.sampled_from([MULTIPART, "application/x-www-form-urlencoded"]))
def test_no_octets_make_another_error(body: bytes, kind: str):
    for whole in (body, part("a", body), part("a", body) + b"--edge--"):
        try:
            read = form(whole, kind)
        except XHMTPError:
            continue
        assert "\0" not in "".join(read.texts("a"))


# Words


def test_sizes_and_times_are_told_as_people_tell_them():
    told = [words.size(octets) for octets in (None, 0, 999, 1000, 9_949, 9_951, 999_499, 10**6)]
    assert told == [
        "size not told", "0 bytes", "999 bytes", "1.0 kB", "9.9 kB", "10 kB", "999 kB", "1.0 MB",
    ]  # fmt: skip
    assert words.size(10**16) == "10000 TB"
    assert "1 Jan 1970, 00:00 UTC" in words.moment(0.0)


def test_a_list_names_only_notes_that_are_known(sqlite_world: World, bob: Browser):
    assert "Saved." in bob.get("settings?note=saved").text
    assert 'role="status"' not in bob.get("settings?note=Your+account+is+closed").text
    assert folders.PAGES.keys() <= pages.PAGES.keys()


def test_rules_hold_for_what_is_shown(sqlite_world: World, bob: Browser):
    filters.add(sqlite_world.b.agent.database, str(BOB), Action.QUARANTINE, "*@a.example")
    send(sqlite_world, "one")
    bob.get("search?q=one")
    assert "in Quarantine" not in bob.page.text
    assert "Quarantine" in bob.page.text
