"""XHMTP around a site: what is not ours reaches it untouched; what is ours never does."""

import io
from typing import Any

import pytest
from webob import Request

from tests.fakes.resolver import FakeResolver
from tests.world import MESSAGE, ZONE, World, basic, call
from xhmtp_wsgi import XHMTP, Settings
from xhmtp_wsgi.agent import make_agent
from xhmtp_wsgi.errors import SettingsError
from xhmtp_wsgi.recipient.views import VIEWS as RECIPIENT_VIEWS


class Unread(io.BytesIO):
    """A body that must not be read."""

    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("the site's body was read")


@pytest.mark.parametrize(
    "path", ["/", "/xhmt", "/xhmtpx/alice/", "/other", "//xhmtp/alice/", "/%78hmtpx", "/in"]
)
def test_a_request_for_the_site_reaches_it_untouched(sqlite_world: World, path: str):
    seen: list[dict[str, Any]] = []

    def site(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return [b""]

    sqlite_world.a.site = site
    request = Request.blank(path, method="POST")
    body = Unread(b"x")
    request.environ["wsgi.input"] = body
    before = dict(request.environ)
    request.get_response(sqlite_world.a)
    given = seen[0]
    given.pop("webob._parsed_post_vars", None)
    assert given["wsgi.input"] is body
    assert {name: given[name] for name in before} == before


def test_below_the_prefix_our_answer_stands(sqlite_world: World):
    for path in ("/xhmtp", "/xhmtp/", "/xhmtp/x", "/xhmtp/x/y/z", "/xhmtp/alice/short"):
        answer = call(sqlite_world.a, path)
        assert answer.status_int == 404
        assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("prefix", ["xhmtp", "sub/xhmtp"])
def test_it_works_below_a_script_name(sqlite_world: World, prefix: str):
    sqlite_world.resolver.set_zone(ZONE.replace('"xhmtp"', f'"{prefix}"'))
    settings = sqlite_world.a.agent.settings
    mounted = XHMTP(
        sqlite_world.a.site, settings, agent=make_agent(settings, resolver=sqlite_world.resolver)
    )
    answer = call(
        mounted, "/xhmtp/alice/", method="POST", body=MESSAGE, content_type="message/rfc822",
        authorization=basic("alice@a.example", "wonderland"), environ={"SCRIPT_NAME": "/sub"},
    )  # fmt: skip
    assert answer.status_int == 201
    assert answer.headers["Location"].startswith("/sub/xhmtp/alice/")


def test_one_agent_acts_for_many_domains_each_with_its_prefix(sqlite_world: World):
    settings = Settings.load(
        {
            "database": sqlite_world.a.agent.settings.database,
            "domain": {"a.example": {}, "c.example": {"prefix": "other/way"}},
        }
    )
    both = XHMTP(
        sqlite_world.a.site, settings, agent=make_agent(settings, resolver=sqlite_world.resolver)
    )
    assert call(both, "/xhmtp/x@a.example").status_int == 401
    assert call(both, "/other/way/x@c.example").status_int == 401
    assert call(both, "/other/x@c.example").status_int == 200, "the site's"


def test_a_host_that_only_receives_takes_one_wing(sqlite_world: World):
    receiving = XHMTP(
        sqlite_world.b.site, sqlite_world.b.agent.settings,
        agent=sqlite_world.b.agent, views=RECIPIENT_VIEWS,
    )  # fmt: skip
    assert call(receiving, "/in/box/bob@b.example").status_int == 401
    assert call(receiving, "/in/box/bob/").status_int == 404


def test_urls_do_not_come_from_what_the_client_says(sqlite_world: World):
    spoofed = {"HTTP_HOST": "evil.example", "wsgi.url_scheme": "https", "SERVER_NAME": "evil"}
    created = sqlite_world.inject(
        environ=spoofed, headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    )
    assert created.headers["Location"].startswith("/xhmtp/alice/")
    sqlite_world.notify()
    feed = sqlite_world.feed(environ=spoofed)
    assert "evil" not in feed.text


def test_while_the_dns_is_down_the_prefix_of_last_time_holds_even_over_a_restart(
    sqlite_world: World,
):
    world = sqlite_world
    resolver = FakeResolver(ZONE, frozenset({"_prefix._xhmtp.a.example"}))
    database = world.a.agent.settings.database.replace("xhmtp.db", "other.db")
    settings = Settings.load({"database": database, "domain": {"a.example": {}}})

    def started() -> XHMTP:
        return XHMTP(
            world.a.site, settings,
            agent=make_agent(settings, resolver=resolver, clock=world.clock, monotonic=world.clock),
        )  # fmt: skip

    site = started()
    assert call(site, "/xhmtp/alice/").body == b"the site: /xhmtp/alice/"
    resolver.failing.clear()
    world.clock.now += 60
    _until(lambda: call(site, "/xhmtp/alice/").status_int == 401)
    resolver.failing.add("_prefix._xhmtp.a.example")
    world.clock.now += 10**5
    assert call(site, "/xhmtp/alice/").status_int == 401, "a prefix that was known stays"
    restarted = started()
    _until(lambda: call(restarted, "/xhmtp/alice/").status_int == 401)


def test_a_prefix_that_changes_is_followed(sqlite_world: World):
    world = sqlite_world
    assert call(world.a, "/xhmtp/alice/").status_int == 401
    world.resolver.set_zone(ZONE.replace('"xhmtp"', '"elsewhere"'))
    world.clock.now += 3601
    _until(lambda: call(world.a, "/elsewhere/alice/").status_int == 401)
    assert call(world.a, "/xhmtp/alice/").status_int == 200, "the site's again"


def test_with_the_database_gone_the_site_answers_as_ever(sqlite_world: World):
    world = sqlite_world
    call(world.a, "/xhmtp/alice/")
    file = world.a.agent.database.file
    assert file is not None
    world.a.agent.database.close()
    for name in (file, file.with_name(file.name + "-wal"), file.with_name(file.name + "-shm")):
        name.unlink(missing_ok=True)
    file.mkdir()
    assert call(world.a, "/page").body == b"the site: /page"
    answer = world.inject()
    assert answer.status_int == 503
    assert answer.content_type == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0


def test_a_fault_of_ours_is_a_plain_500_and_tells_nothing(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(sqlite_world.a.agent.accounts, "authenticate_row", broken)
    answer = sqlite_world.inject()
    assert answer.status_int == 500
    assert "secret" not in answer.text
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "domain"),
        ({"domain": {}}, "domain"),
        ({"domain": {"a.example": {}}, "databas": "x"}, "databas"),
        ({"domain": {"a.example": {}}, "database": "x"}, "database"),
        ({"domain": {"a.example": {}}, "database": "mysql://x/y"}, "database"),
        ({"domain": {"a.example": {"prefix": "../x"}}}, 'domain."a.example".prefix'),
        ({"domain": {"a.example": {"agent": "ftp://x"}}}, 'domain."a.example".agent'),
        ({"domain": {"a.example": {"agent": "http://x/y"}}}, 'domain."a.example".agent'),
        ({"domain": {"a b": {}}}, 'domain."a b"'),
        ({"domain": {"a.example": {}}, "resolver": ["ns.example"]}, "resolver"),
        ({"domain": {"a.example": {}}, "trusted_proxies": ["x"]}, "trusted_proxies"),
        ({"domain": {"a.example": {}}, "lease": 0}, "lease"),
        ({"domain": {"a.example": {}}, "allow_ports": [0]}, "allow_ports"),
        ({"domain": {"a.example": {}}, "allow_ports": ["x"]}, "allow_ports"),
        ({"domain": {"a.example": {"verify": "none"}}}, 'domain."a.example".verify'),
        ({"domain": {"a.example": {"unvouched": "x"}}}, 'domain."a.example".unvouched'),
        ({"domain": {"a.example": {"anonymous": "x"}}}, 'domain."a.example".anonymous'),
        ({"domain": {"a.example": {}}, "page_size": True}, "page_size"),
        ("/nowhere/xhmtp.toml", "/nowhere/xhmtp.toml"),
    ],
)
def test_a_wrong_setting_is_named(given: Any, named: str):
    with pytest.raises(SettingsError) as caught:
        Settings.load(given)
    assert caught.value.setting == named


@pytest.mark.parametrize(
    ("given", "environ"),
    [
        ({"lease": 30}, {}),
        ({"try_deadline": 300}, {}),
        ({"lease": 8, "try_deadline": 9.5}, {}),
        ({"lease": 60}, {"XHMTP_TRY_DEADLINE": "60"}),
    ],
)
def test_a_lease_in_which_no_try_fits_is_refused(given: Any, environ: dict[str, str]):
    with pytest.raises(SettingsError) as caught:
        Settings.load({"domain": {"a.example": {}}, **given}, environ)
    assert caught.value.setting == "lease"
    assert "try_deadline" in str(caught.value)
    assert "make lease longer, or try_deadline shorter" in str(caught.value)


def test_a_lease_in_which_a_try_fits_is_taken():
    settings = Settings.load({"domain": {"a.example": {}}, "lease": 8, "try_deadline": 7.5})
    assert settings.lease > settings.try_deadline


def test_the_environment_overrides_the_file():
    settings = Settings.load({"domain": {"a.example": {}}}, {"XHMTP_PAGE_SIZE": "7"})
    assert settings.page_size == 7


def _until(condition: Any) -> None:
    """A thread of its own asks the DNS: give it a moment."""
    import time

    for _ in range(200):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")
