"""Logging in to the pages: one's own pages alone, by a session, the site's log-in, or Basic."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote, urljoin

import pytest
from webob import Request

from tests.fakes.browser import SAME_ORIGIN, Browser
from tests.world import BOB, ZONE, World, basic, call
from xhmtp_wsgi import XHMTP, Settings
from xhmtp_wsgi.agent import make_agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.sessions import GOOD_FOR
from xhmtp_wsgi.site_users import SiteUsers
from xhmtp_wsgi.web.login import COOKIE, sessions_of

HOME, DORAS = "/in/box/bob%40b.example/", "/in/box/dora%40b.example/"
CHERYL = Endpoint.parse("cheryl@b.example")


def bobs(world: World, **options: Any) -> Browser:
    """bob's browser."""
    return Browser(world.b, HOME, **options)


def as_bob(world: World) -> Browser:
    """The same, and he has logged in."""
    browser = bobs(world)
    assert browser.log_in("builder").status_int == 200
    return browser


def cookie_line(world: World, path: str, fields: Mapping[str, str]) -> str:
    """What a form's answer has a browser keep."""
    body = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
    answer = call(
        world.b, HOME + path, method="POST", body=body, headers=SAME_ORIGIN,
        content_type="application/x-www-form-urlencoded",
    )  # fmt: skip
    assert answer.status_int == 303
    (line,) = answer.headers.getall("Set-Cookie")
    return str(line)


def test_bob_logs_in_and_is_led_to_his_inbox(world: World):
    browser = bobs(world)
    browser.get("/in/box/bob@b.example")
    assert browser.path == HOME + "login", "a browser is led from his address to where one logs in"
    assert browser.submit("login", password="builder").status_int == 200
    assert browser.path == HOME + "inbox"
    assert "bob@b.example" in browser.page.text
    browser.get("/in/box/bob@b.example")
    assert browser.path == HOME + "inbox"
    browser.get("login")
    assert browser.path == HOME + "inbox", "who is logged in need not log in"


def test_a_session_is_known_by_its_hash_alone(world: World):
    browser = as_bob(world)
    with world.b.agent.database.reading() as connection:
        kept = str(connection.exec_driver_sql("SELECT * FROM web_session").all())
    assert browser.cookies[COOKIE] not in kept


def test_who_asks_for_a_page_is_led_back_to_it(sqlite_world: World):
    browser = bobs(sqlite_world)
    browser.get("settings/filters")
    assert browser.path == HOME + "login?to=settings%2Ffilters"
    browser.submit("login", password="builder")
    assert browser.path == HOME + "settings/filters"


HOSTILE_WAYS = (
    "//evil.example", "/\\evil.example", "https://evil.example/", "https:evil.example", "..",
    "../../evil", "%2e%2e/%2e%2e", "inbox/../../..", "", "/", "\\\\evil.example", "javascript:x",
    "%2F%2Fevil.example", "a" * 600, "%00", "inbox%0d%0aSet-Cookie:x=y", "%252e%252e",
)  # fmt: skip


def test_logging_in_leads_nowhere_but_below_ones_own_address(sqlite_world: World):
    for way in HOSTILE_WAYS:
        answer = call(
            sqlite_world.b, f"{HOME}login?to={quote(way, safe='')}", method="POST",
            body=b"password=builder", headers=SAME_ORIGIN,
            content_type="application/x-www-form-urlencoded",
        )  # fmt: skip
        assert answer.status_int == 303
        location = answer.headers["Location"]
        led = urljoin("http://server.b.example" + HOME, location)
        assert led.startswith("http://server.b.example" + HOME), way
        assert "/../" not in unquote(location) + "/", way
        assert [name for name, _ in answer.headerlist].count("Set-Cookie") == 1


def test_a_wrong_password_says_so_and_opens_nothing(sqlite_world: World):
    browser = bobs(sqlite_world)
    assert browser.log_in("wrong").status_int == 401
    assert "not right" in browser.page.text
    assert "WWW-Authenticate" not in browser.answer.headers, "no window of the browser's opens"
    assert browser.cookies == {}
    browser.get("inbox")
    assert browser.path == HOME + "login"


def test_nobody_learns_who_has_an_account(sqlite_world: World):
    nobody = Browser(sqlite_world.b, "/in/box/nobody%40b.example/")
    nobody.log_in("wrong")
    somebody = bobs(sqlite_world)
    somebody.log_in("wrong")
    assert nobody.answer.text.replace("nobody", "bob") == somebody.answer.text


def test_guesses_are_counted(sqlite_world: World):
    most = sqlite_world.b.agent.settings.failed_logins
    browser = bobs(sqlite_world)
    for _ in range(most):
        assert browser.log_in("wrong").status_int == 401
    assert browser.log_in("builder").status_int == 429
    assert int(browser.answer.headers["Retry-After"]) > 0
    assert "too many tries" in browser.page.text
    # By Basic credentials as well: it is one count.
    tried = bobs(sqlite_world, headers={"Authorization": basic("bob@b.example", "builder")})
    assert tried.get("inbox").status_int == 429


def test_the_cookie_is_for_our_pages_alone(sqlite_world: World):
    line = cookie_line(sqlite_world, "login", {"password": "builder"}).lower()
    attributes = {part.strip() for part in line.split(";")[1:]}
    assert "httponly" in attributes
    assert "samesite=lax" in attributes
    assert "path=/in/box/" in attributes
    assert f"max-age={int(GOOD_FOR)}" in attributes
    assert not any(one.startswith("domain") for one in attributes)
    assert "secure" not in attributes, "it came over plain HTTP, and would else be lost"


@pytest.mark.parametrize("settled", [True, False])
def test_over_tls_the_cookie_is_sent_over_tls_alone(sqlite_world: World, settled: bool):
    """The proxy ends TLS, and the request itself does not tell: settings or the DNS do."""
    agent = sqlite_world.b.agent
    if settled:
        domain = {"b.example": {"agent": "https://server.b.example"}}
        domains = Settings.load({"domain": domain}).domains
        agent = replace(agent, settings=replace(agent.settings, domains=domains))
        sqlite_world.b = XHMTP(sqlite_world.b.site, agent.settings, agent=agent)
    else:
        records = "_xhmtps._tcp.b.example. 60 SRV 0 0 443 server.b.example.\n"
        sqlite_world.resolver.set_zone(ZONE + records)
    line = cookie_line(sqlite_world, "login", {"password": "builder"}).lower()
    assert "secure" in {part.strip() for part in line.split(";")}


def test_nobody_is_led_into_a_session_that_another_knows(sqlite_world: World):
    browser = bobs(sqlite_world)
    browser.cookies[COOKIE] = "a" * 32
    browser.log_in("builder")
    assert browser.cookies[COOKIE] != "a" * 32
    first = browser.cookies[COOKIE]
    again = bobs(sqlite_world, cookies={COOKIE: first})
    again.post("login", {"password": "builder"})
    assert again.cookies[COOKIE] != first, "with each log-in a new one"
    browser.get("inbox")
    assert browser.path == HOME + "login", "and the one before has ended"


def test_logging_out_ends_the_session_for_good(world: World):
    browser = as_bob(world)
    secret = browser.cookies[COOKIE]
    browser.submit("logout")
    assert browser.path == HOME + "login?note=logged-out"
    assert "You are logged out" in browser.page.text
    assert browser.cookies == {}
    thief = bobs(world, cookies={COOKIE: secret})
    thief.get("inbox")
    assert thief.path == HOME + "login"
    assert thief.post("logout", {}).status_int == 200, "who has no session is logged out as well"


def test_a_new_password_ends_every_other_session(world: World):
    browser, elsewhere = as_bob(world), as_bob(world)
    browser.get("settings/password")
    browser.submit("settings/password", old="builder", new="a better one", again="a better one")
    assert "Your password is changed" in browser.page.text
    assert browser.get("inbox").status_int == 200
    assert browser.path == HOME + "inbox", "his own goes on"
    elsewhere.get("inbox")
    assert elsewhere.path == HOME + "login"
    assert elsewhere.log_in("builder").status_int == 401
    assert elsewhere.log_in("a better one").status_int == 200


@pytest.mark.parametrize(
    ("old", "new", "again", "told"),
    [("wrong", "a better one", "a better one", "not your password"),
     ("builder", "short", "short", "8 to"),
     ("builder", "a better one", "another one", "not the same"),
     ("builder", "x" * 2000, "x" * 2000, "8 to")],
)  # fmt: skip
def test_a_password_is_not_changed_by_mistake(
    sqlite_world: World, old: str, new: str, again: str, told: str
):
    browser = as_bob(sqlite_world)
    browser.get("settings/password")
    answer = browser.submit("settings/password", old=old, new=new, again=again)
    assert answer.status_int == 400
    assert told in browser.page.text
    assert bobs(sqlite_world).log_in("builder").status_int == 200
    assert new not in answer.text, "no password is sent back"


def test_guesses_at_the_old_password_are_counted(sqlite_world: World):
    browser = as_bob(sqlite_world)
    for _ in range(sqlite_world.b.agent.settings.failed_logins):
        browser.get("settings/password")
        browser.submit("settings/password", old="wrong", new="a better one", again="a better one")
    browser.get("settings/password")
    right = browser.submit(
        "settings/password", old="builder", new="a better one", again="a better one"
    )
    assert right.status_int == 429


def test_a_session_runs_out(sqlite_world: World):
    browser = as_bob(sqlite_world)
    sqlite_world.clock.now += GOOD_FOR - 1
    browser.get("inbox")
    assert browser.path == HOME + "inbox"
    sqlite_world.clock.now += 2
    browser.get("inbox")
    assert browser.path == HOME + "login"


def test_a_session_ends_with_its_account(world: World):
    browser = as_bob(world)
    world.b.agent.accounts.remove(BOB)
    browser.get("inbox")
    assert browser.path == HOME + "login"


def test_other_peoples_pages_are_not_shown(world: World):
    world.b.agent.accounts.add(CHERYL, "another one")
    browser = as_bob(world)
    for path in ("inbox", "folder?name=archive", "search?q=x", "settings", "settings/feeds.opml"):
        answer = browser.get(f"/in/box/cheryl%40b.example/{path}")
        assert answer.status_int == 403
        assert "logged in as bob@b.example" in browser.page.text
    assert browser.page.links["Log in as cheryl@b.example"].endswith("cheryl%40b.example/login")
    browser.get("/in/box/cheryl%40b.example/login")
    assert "You are logged in as bob@b.example" in browser.page.text
    browser.submit("login", password="another one")
    assert browser.path == "/in/box/cheryl%40b.example/inbox"
    assert browser.get("inbox").status_int == 403


def test_basic_credentials_open_ones_own_pages_alone(sqlite_world: World):
    sqlite_world.b.agent.accounts.add(CHERYL, "another one")
    by_basic = bobs(sqlite_world, headers={"Authorization": basic("bob@b.example", "builder")})
    assert by_basic.get("inbox").status_int == 200
    assert by_basic.path == HOME + "inbox"
    assert "Log out" not in by_basic.page.text, "there is nothing that we could end"
    assert by_basic.cookies == {}
    by_basic.get("/in/box/cheryl%40b.example/inbox")
    assert by_basic.path == "/in/box/cheryl%40b.example/login"


def test_a_feed_token_opens_no_page(sqlite_world: World):
    token = sqlite_world.b.agent.accounts.add_token(BOB, "reader")
    reader = bobs(sqlite_world, headers={"Authorization": basic("bob@b.example", token)})
    reader.get("inbox")
    assert reader.path == HOME + "login"
    query = bobs(sqlite_world)
    query.get(f"inbox?token={token}")
    assert query.path == HOME + "login"
    cookie = bobs(sqlite_world, cookies={COOKIE: token})
    cookie.get("inbox")
    assert cookie.path == HOME + "login"


def test_a_program_is_told_so_in_json(sqlite_world: World):
    answer = call(sqlite_world.b, HOME + "inbox")
    assert (answer.status_int, answer.content_type) == (401, "application/problem+json")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


class Known(SiteUsers):
    """A site that has logged in whom the request names."""

    def __init__(self) -> None:
        self.names = {"bob@b.example", "dora@b.example"}

    def exists(self, address: str) -> bool | None:
        return address in self.names

    def logged_in(self, environ: Mapping[str, Any]) -> str | None:
        name = environ.get("test.site_user")
        return str(name) if name else None


@pytest.fixture
def known(sqlite_world: World) -> Iterator[Known]:
    """The users of bob's site, beside the accounts of its agent."""
    users, old = Known(), sqlite_world.b.agent
    agent = make_agent(
        old.settings, resolver=sqlite_world.resolver, network=old.network,
        clock=sqlite_world.clock, monotonic=sqlite_world.clock, users=users,
    )  # fmt: skip
    sqlite_world.b = XHMTP(sqlite_world.b.site, agent.settings, agent=agent)
    yield users
    agent.database.close()


def test_whom_the_site_has_logged_in_need_not_log_in_again(sqlite_world: World, known: Known):
    dora = Browser(sqlite_world.b, DORAS, environ={"test.site_user": "dora@b.example"})
    assert dora.get("inbox").status_int == 200
    assert dora.path == DORAS + "inbox"
    assert "Log out" not in dora.page.text, "that is the site's"
    assert dora.get(HOME + "inbox").status_int == 403


def test_who_has_no_password_of_ours_changes_none(sqlite_world: World, known: Known):
    dora = Browser(sqlite_world.b, DORAS, environ={"test.site_user": "dora@b.example"})
    dora.get("settings/password")
    assert "You have no password here" in dora.page.text
    assert not any(form.action.endswith("password") for form in dora.page.forms)
    dora.get("settings")
    (token,) = dora.page.form("settings").values("token")
    wanted = {"token": token, "old": "", "new": "long enough", "again": "long enough"}
    assert dora.post("settings/password", wanted).status_int == 403


def test_a_session_ends_with_the_sites_user(sqlite_world: World, known: Known):
    account = sqlite_world.b.agent.accounts.find(Endpoint.parse("dora@b.example"))
    assert account is not None
    secret = sessions_of(sqlite_world.b.agent).begin(account)
    dora = Browser(sqlite_world.b, DORAS, cookies={COOKIE: secret})
    dora.get("inbox")
    assert dora.path == DORAS + "inbox"
    known.names.remove("dora@b.example")
    dora.get("inbox")
    assert dora.path == DORAS + "login"


def test_no_cookie_does_harm(sqlite_world: World):
    for cookie in ("", "x", "a" * 5000, '"', "\xe9", "a\0b", "=;=", COOKIE):
        request = Request.blank(HOME + "inbox", headers={"Accept": "text/html"})
        request.environ["HTTP_COOKIE"] = f"{COOKIE}={cookie}"
        assert request.get_response(sqlite_world.b).status_int == 303
