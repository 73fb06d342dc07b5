"""A change is made by a form of ours alone, however the browser is logged in (threats, row 36)."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.fakes.browser import ACCEPT, SAME_ORIGIN, Browser
from tests.world import ALICE, BOB, World, basic, call
from xhmtp_wsgi import XHMTP, preferences
from xhmtp_wsgi.agent import make_agent
from xhmtp_wsgi.site_users import SiteUsers
from xhmtp_wsgi.web import origin
from xhmtp_wsgi.web.login import COOKIE, sessions_of
from xhmtp_wsgi.web.pages import PAGES

HOME = "/in/box/bob%40b.example/"
OWN = "http://server.b.example"
MEANS = ("session", "site", "basic")


class LoggedIn(SiteUsers):
    """A site in which bob is logged in wherever a cookie of its own says so."""

    def logged_in(self, environ: Mapping[str, Any]) -> str | None:
        return "bob" if "site=bob" in environ.get("HTTP_COOKIE", "") else None


@pytest.fixture
def bobs(sqlite_world: World) -> Iterator[dict[str, Browser]]:
    """bob's browsers, by the means by which each is logged in."""
    old = sqlite_world.b.agent
    agent = make_agent(
        old.settings, resolver=sqlite_world.resolver, network=old.network,
        clock=sqlite_world.clock, monotonic=sqlite_world.clock, users=LoggedIn(),
    )  # fmt: skip
    sqlite_world.b = XHMTP(sqlite_world.b.site, agent.settings, agent=agent)
    session = Browser(sqlite_world.b, HOME)
    session.log_in("builder")
    yield {
        "session": session,
        "site": Browser(sqlite_world.b, HOME, cookies={"site": "bob"}),
        "basic": Browser(
            sqlite_world.b, HOME, headers={"Authorization": basic("bob@b.example", "builder")}
        ),
    }
    agent.database.close()


def token_of(browser: Browser) -> str:
    """What the forms of this browser's pages carry."""
    browser.get("settings")
    (token,) = browser.page.form("settings").values("token")
    return token


def kept(world: World) -> str:
    """What bob has chosen."""
    return preferences.get(world.b.agent.database, BOB, "keep", "never")


TOLD = {
    "same origin": ({"Sec-Fetch-Site": "same-origin"}, True),
    "by the person himself": ({"Sec-Fetch-Site": "none"}, True),
    "same origin, which hides its name": (
        {"Sec-Fetch-Site": "same-origin", "Origin": "null"}, True,
    ),
    "our own Origin": ({"Origin": OWN}, True),
    "our own Origin, with its port": ({"Origin": OWN + ":80"}, True),
    "another site": ({"Sec-Fetch-Site": "cross-site"}, False),
    "another site of the same domain": ({"Sec-Fetch-Site": "same-site"}, False),
    "another site that names us": ({"Sec-Fetch-Site": "cross-site", "Origin": OWN}, False),
    "another Origin": ({"Origin": "http://evil.example"}, False),
    "another Origin whose name begins as ours": ({"Origin": OWN + ".evil.example"}, False),
    "another Origin that has our name in it": ({"Origin": "http://server.b.example@evil"}, False),
    "another port": ({"Origin": OWN + ":8080"}, False),
    "another scheme": ({"Origin": "https://server.b.example"}, False),
    "Origin as Host says": ({"Origin": "http://evil.example", "Host": "evil.example"}, False),
    "no Origin that has a name": ({"Origin": "null"}, False),
    "no Origin": ({}, False),
    "nonsense": ({"Origin": "http://[::1"}, False),
    "an empty word": ({"Sec-Fetch-Site": ""}, False),
}  # fmt: skip


@pytest.mark.parametrize("means", MEANS)
def test_only_a_page_of_this_site_may_send_a_form(
    sqlite_world: World, bobs: dict[str, Browser], means: str
):
    browser = bobs[means]
    token = token_of(browser)
    for told, (headers, right) in TOLD.items():
        preferences.put(sqlite_world.b.agent.database, BOB, "keep", "never")
        answer = browser.post("settings", {"token": token, "keep": "always"}, headers)
        expected = (200, "always") if right else (403, "never")
        assert (answer.status_int, kept(sqlite_world)) == expected, told
        assert answer.content_type == "text/html"


@pytest.mark.parametrize("means", MEANS)
def test_a_form_without_its_token_changes_nothing(
    sqlite_world: World, bobs: dict[str, Browser], means: str
):
    another = bobs["basic" if means == "session" else "session"]
    for token in (
        None, "", "0" * 64, "é", token_of(another),
        origin.form_token(sqlite_world.b.agent.database, ALICE, None),
    ):  # fmt: skip
        fields = {"keep": "always"} if token is None else {"keep": "always", "token": token}
        answer = bobs[means].post("settings", fields)
        assert (answer.status_int, kept(sqlite_world)) == (403, "never")
        assert "load it again" in bobs[means].page.text


def test_a_token_ends_with_its_session(sqlite_world: World, bobs: dict[str, Browser]):
    browser = bobs["session"]
    old = token_of(browser)
    browser.submit("logout")
    browser.log_in("builder")
    assert browser.post("settings", {"token": old, "keep": "always"}).status_int == 403
    assert token_of(browser) != old


def test_the_token_is_not_the_secret(sqlite_world: World, bobs: dict[str, Browser]):
    by_session, by_basic = bobs["session"], bobs["basic"]
    token_of(by_session)
    assert by_session.cookies[COOKIE] not in by_session.answer.text
    token_of(by_basic)
    secret = preferences.get(sqlite_world.b.agent.database, BOB, preferences.FORM_SECRET, "")
    assert len(secret) == 32
    assert secret not in by_basic.answer.text


def test_everybody_has_one_secret_for_good(world: World):
    database = world.b.agent.database
    first = origin.form_token(database, BOB, None)
    assert origin.form_token(database, BOB, None) == first
    assert origin.form_token(database, ALICE, None) != first


EVERY_FORM = {
    "change": {"do": "trash", "notice": "x"},
    "quarantine": {"do": "release", "notice": "x"},
    "settings": {"keep": "always", "signature": ""},
    "settings/password": {"old": "builder", "new": "long enough", "again": "long enough"},
    "settings/feeds": {"do": "add", "label": "reader"},
    "settings/feeds.opml": {"label": "reader"},
    "settings/filters": {"do": "add", "what": "refuse", "whom": "*"},
    "settings/keys": {"do": "add", "line": "ssh-ed25519 AAAA"},
    "logout": {},
}


def test_every_form_is_looked_at(sqlite_world: World, bobs: dict[str, Browser]):
    browser = bobs["session"]
    token = token_of(browser)
    before = sqlite_world.rows(sqlite_world.b.agent)
    others = {name: {"do": "send"} for name, page in PAGES.items() if page.post is not None}
    for path, fields in {**others, **EVERY_FORM}.items():
        for wrong, headers in (
            (fields, SAME_ORIGIN),
            ({**fields, "token": token}, {"Origin": "http://evil.example"}),
            ({**fields, "token": token}, {"Sec-Fetch-Site": "cross-site"}),
        ):
            assert browser.post(path, wrong, headers).status_int == 403, path
    assert sqlite_world.rows(sqlite_world.b.agent) == before
    assert sessions_of(sqlite_world.b.agent).account(browser.cookies[COOKIE]) is not None


def test_nobody_is_logged_in_by_another_sites_page(sqlite_world: World):
    """Else he would read and write in a mailbox that is not his."""
    browser = Browser(sqlite_world.b, HOME)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {}):
        assert browser.post("login", {"password": "builder"}, headers).status_int == 403
        assert browser.cookies == {}
    assert browser.post("login", {"password": "builder"}, {"Origin": OWN}).status_int == 200


def test_what_is_asked_for_by_get_changes_nothing(world: World):
    browser = Browser(world.b, HOME)
    browser.log_in("builder")
    world.inject()
    world.notify()
    browser.get("inbox")
    before = world.rows(world.b.agent)
    for path in EVERY_FORM:
        browser.get(f"{path}?do=trash&keep=always&label=x&token={token_of(browser)}")
    browser.get("inbox?do=trash")
    assert world.rows(world.b.agent) == before
    assert kept(world) == "never"


def test_where_the_dns_does_not_tell_our_url_the_browser_is_asked_to_wait(
    sqlite_world: World, bobs: dict[str, Browser]
):
    browser = bobs["session"]
    token = token_of(browser)
    sqlite_world.resolver.failing.update({"_xhmtp._tcp.b.example", "_xhmtps._tcp.b.example"})
    answer = browser.post("settings", {"token": token, "keep": "always"}, {"Origin": OWN})
    assert (answer.status_int, kept(sqlite_world)) == (503, "never")
    assert browser.post("settings", {"token": token, "keep": "always"}).status_int == 200


def test_what_another_sites_script_could_send_unasked_is_no_form(
    sqlite_world: World, bobs: dict[str, Browser]
):
    browser = bobs["session"]
    fields = {"token": token_of(browser), "keep": "always"}
    for kind in ("text/plain", "application/json", "", "application/x-www-form-urlencodedx"):
        assert browser.post("settings", fields, content_type=kind).status_int == 415
    assert kept(sqlite_world) == "never"


def test_an_answer_is_read_by_no_other_site(sqlite_world: World):
    answer = call(sqlite_world.b, HOME + "login", headers={"Accept": ACCEPT})
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert not any(name.lower().startswith("access-control") for name in answer.headers)
