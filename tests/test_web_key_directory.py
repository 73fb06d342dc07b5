"""The Web Key Directory: who asks for bob's OpenPGP key finds it, and the site keeps all else."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webob import Request, Response

from tests.gpg_home import GPGHome, gpg_home
from tests.test_middleware import Unread
from tests.test_openpgp_key import KEY, packet
from tests.world import ALICE, BOB, World, call
from xhmtp_wsgi import XHMTP
from xhmtp_wsgi.errors import DatabaseUnavailable, MalformedKey, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.openpgp_key import OpenPGPKey
from xhmtp_wsgi.protocol.web_key import ROOT, WebKeyPath, direct_url, hashed
from xhmtp_wsgi.sender import openpgp_keys

HU = "/.well-known/openpgpkey/hu/"
BOBS = hashed("bob")
HIS = OpenPGPKey.parse(KEY + packet(13, b"Bob <bob@b.example>"))
NEWER = OpenPGPKey.parse(packet(6, b"\x04" + bytes(41)) + packet(13, b"bob@b.example"))


@pytest.fixture(scope="module")
def gpg() -> Iterator[GPGHome]:
    with gpg_home() as home:
        yield home


def with_directory(world: World, *domains: str) -> XHMTP:
    """bob's site, where these of its domains have a directory."""
    agent = world.b.agent
    settings = replace(
        agent.settings,
        domains={
            name: replace(domain, web_key_directory=name in domains)
            for name, domain in agent.settings.domains.items()
        },
    )
    return XHMTP(world.b.site, settings, agent=replace(agent, settings=settings))


@pytest.fixture
def b(sqlite_world: World) -> XHMTP:
    """The same, where bob publishes a key."""
    openpgp_keys.put(sqlite_world.b.agent.database, BOB, HIS, sqlite_world.clock())
    return with_directory(sqlite_world, "b.example")


def ask(site: XHMTP, path: str, host: str = "b.example", **options: Any) -> Response:
    return call(site, path, headers={"Host": host}, **options)


def test_both_ways_lead_to_the_key(world: World):
    openpgp_keys.put(world.b.agent.database, BOB, HIS, world.clock())
    b = with_directory(world, "b.example")
    for path, host in (
        (f"{HU}{BOBS}?l=bob", "b.example"),
        (f"{HU}{BOBS}?l=Bob", "B.Example.:443"),
        (f"{HU}{BOBS}", "b.example:8443"),
        (f"{HU}{BOBS}?l=cheryl&l=bob", "b.example"),
        (f"{HU}{BOBS}?l=%ff%00@/../", "b.example"),
        (f"{HU}{BOBS}?l=" + "x" * 5000, "b.example"),
        (f"/.well-known/openpgpkey/b.example/hu/{BOBS}?l=bob", "openpgpkey.b.example"),
        (f"/.well-known/openpgpkey/B.EXAMPLE/hu/{BOBS}", "OpenPGPkey.b.example"),
    ):
        answer = ask(b, path, host)
        assert (answer.status_int, answer.body) == (200, HIS.octets), path
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_head_tells_the_same_without_the_key(b: XHMTP):
    answer = ask(b, f"{HU}{BOBS}?l=bob", method="HEAD")
    assert (answer.status_int, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(HIS.octets))


def test_the_policy_is_there_and_empty(b: XHMTP):
    for path, host in (("policy", "b.example"), ("b.example/policy", "openpgpkey.b.example")):
        for method in ("GET", "HEAD"):
            answer = ask(b, ROOT + path, host, method=method)
            assert (answer.status_int, answer.body) == (200, b"")
            assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_an_address_is_hashed_as_gpg_does_it(gpg: GPGHome):
    assert hashed("Joe.Doe") == "iy9q119eutrkn8s1mk4r39qejnbu3n5q", "the draft's example"
    gpg.make_key("Bob.the-Builder+tag <Bob.the-Builder+tag@b.example>")
    listed = gpg.run("--with-wkd-hash", "--list-keys", "Bob.the-Builder").stdout.decode()
    assert f"{hashed('Bob.the-Builder+tag')}@b.example" in listed
    assert direct_url(Endpoint.parse("Joe.Doe@example.org")) == (
        "https://example.org/.well-known/openpgpkey/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe"
    )


NOTHING = [
    (f"{HU}{hashed('cheryl')}?l=cheryl", "b.example"),
    (f"{HU}{hashed('cheryl')}", "b.example"),
    (f"{HU}{hashed('cheryl')}?l=bob", "b.example"),
    (HU, "b.example"),
    (f"{HU}{BOBS.upper()}", "b.example"),
    (f"{HU}{BOBS}/", "b.example"),
    (f"{HU}{BOBS}/x", "b.example"),
    (f"{HU}bob", "b.example"),
    (f"{HU}{BOBS[:-1]}", "b.example"),
    (f"{HU}{BOBS}y", "b.example"),
    (ROOT, "b.example"),
    (f"{ROOT}policy/", "b.example"),
    (f"{ROOT}submission-address", "b.example"),
    # The advanced way's path at the direct one's host, the other way round, and another domain's.
    (f"{ROOT}b.example/hu/{BOBS}", "b.example"),
    (f"{ROOT}b.example/policy", "b.example"),
    (f"{HU}{BOBS}", "openpgpkey.b.example"),
    (f"{ROOT}policy", "openpgpkey.b.example"),
    (f"{ROOT}a.example/hu/{BOBS}", "openpgpkey.b.example"),
]


@pytest.mark.parametrize(("path", "host"), NOTHING)
def test_what_is_not_in_the_directory_is_404(b: XHMTP, path: str, host: str):
    answer = ask(b, path, host)
    assert answer.status_int == 404
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_a_directory_is_only_read(b: XHMTP):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = ask(b, f"{HU}{BOBS}", method=method)
        assert (answer.status_int, answer.headers["Allow"]) == (405, "GET, HEAD")


THE_SITES = [
    (f"{HU}{BOBS}", "www.b.example"),
    (f"{HU}{BOBS}", "openpgpkey.www.b.example"),
    (f"{HU}{BOBS}", "openpgpkey.openpgpkey.b.example"),
    (f"{HU}{BOBS}", "openpgpkey."),
    (f"{HU}{BOBS}", "b.example.evil.example"),
    (f"{HU}{BOBS}", "a.example"),
    (f"{HU}{BOBS}", "127.0.0.1"),
    ("/.well-known/openpgpkey", "b.example"),
    ("/.well-known/openpgpkeys/", "b.example"),
    ("/.well-known/xhmtp", "b.example"),
    (f"/sub{HU}{BOBS}", "b.example"),
    (f"/{HU}{BOBS}", "b.example"),
    ("/", "b.example"),
]


def untouched(site: XHMTP, inner: Any, path: str, host: str) -> None:
    """The site gets that request as it came, body unread; ``inner`` keeps what it got."""
    request = Request.blank(path, method="POST", headers={"Host": host})
    body = Unread(b"x")
    request.environ["wsgi.input"] = body
    before = dict(request.environ)
    assert request.get_response(site).body == b"the site's"
    given_environ = inner.seen.pop()
    given_environ.pop("webob._parsed_post_vars", None)
    assert given_environ["wsgi.input"] is body
    assert {name: given_environ[name] for name in before} == before


class Site:
    """A site that keeps what it was given."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.seen.append(environ)
        start_response("200 OK", [])
        return [b"the site's"]


@pytest.mark.parametrize(("path", "host"), THE_SITES)
def test_beside_the_directory_the_site_gets_its_requests_untouched(
    sqlite_world: World, path: str, host: str
):
    sqlite_world.b.site = inner = Site()
    untouched(with_directory(sqlite_world, "b.example"), inner, path, host)


def test_without_the_setting_all_of_it_is_the_sites(sqlite_world: World):
    openpgp_keys.put(sqlite_world.b.agent.database, BOB, HIS, sqlite_world.clock())
    inner = Site()
    agent = sqlite_world.b.agent
    b = XHMTP(inner, agent.settings, agent=agent)
    assert b.site is inner, "nothing is between, and so nothing is paid for"
    untouched(b, inner, f"{HU}{BOBS}?l=bob", "b.example")
    assert b.key_directory.answer(Request.blank(HU, headers={"Host": "b.example"}).environ) is None


def test_a_directory_is_for_the_domains_that_have_one(sqlite_world: World):
    agent = sqlite_world.b.agent
    cheryl = Endpoint.parse("cheryl@c.example")
    domains = {**agent.settings.domains}
    domains["c.example"] = replace(domains["b.example"], name="c.example")
    settings = replace(agent.settings, domains=domains)
    both = replace(agent, settings=settings)
    sqlite_world.b = XHMTP(sqlite_world.b.site, settings, agent=both)
    key = OpenPGPKey.parse(KEY + packet(13, b"cheryl@c.example"))
    openpgp_keys.put(agent.database, cheryl, key, sqlite_world.clock())
    b = with_directory(sqlite_world, "b.example")
    assert ask(b, f"{HU}{hashed('cheryl')}").status_int == 404
    assert b"the site" in ask(b, f"{HU}{hashed('cheryl')}", "c.example").body
    assert (
        ask(b, f"{ROOT}c.example/hu/{hashed('cheryl')}", "openpgpkey.b.example").status_int == 404
    )


def test_a_newer_key_takes_the_place_of_the_older(world: World):
    database = world.b.agent.database
    b = with_directory(world, "b.example")
    assert ask(b, f"{HU}{BOBS}").status_int == 404
    openpgp_keys.put(database, BOB, HIS, world.clock())
    openpgp_keys.put(database, Endpoint.parse("BOB@b.example"), NEWER, world.clock())
    assert openpgp_keys.get(database, BOB) == NEWER
    assert ask(b, f"{HU}{BOBS}").body == NEWER.octets
    with pytest.raises(NotFound):
        openpgp_keys.remove(database, BOB, HIS.fingerprint)
    for wrong in ("", NEWER.fingerprint[-15:], NEWER.fingerprint[:16], "x" * 500):
        with pytest.raises(NotFound):
            openpgp_keys.remove(database, BOB, wrong)
    last = NEWER.fingerprint[-16:].lower()
    openpgp_keys.remove(database, BOB, f"0x{last[:8]} {last[8:]}")
    assert openpgp_keys.get(database, BOB) is None
    assert ask(b, f"{HU}{BOBS}").status_int == 404
    openpgp_keys.forget(database, BOB)


def test_nobody_publishes_a_key_of_somebody_elses(sqlite_world: World):
    database = sqlite_world.b.agent.database
    with pytest.raises(MalformedKey, match="no User ID of the key has the address"):
        openpgp_keys.put(database, Endpoint.parse("cheryl@b.example"), HIS, sqlite_world.clock())
    with pytest.raises(MalformedKey):
        openpgp_keys.put(database, ALICE, HIS, sqlite_world.clock())


def test_an_address_of_another_domain_with_the_same_end_is_not_found(sqlite_world: World):
    database = sqlite_world.b.agent.database
    other = Endpoint.parse("bob@xb.example")
    key = OpenPGPKey.parse(KEY + packet(13, b"bob@xb.example"))
    openpgp_keys.put(database, other, key, sqlite_world.clock())
    assert openpgp_keys.owner_of_hash(database, "b.example", BOBS) is None
    assert openpgp_keys.owner_of_hash(database, "xb.example", BOBS) == other
    assert openpgp_keys.owner_of_hash(database, "_b.example", BOBS) is None


def test_with_the_account_its_key_is_gone(sqlite_world: World, b: XHMTP):
    sqlite_world.b.agent.accounts.remove(BOB)
    assert ask(b, f"{HU}{BOBS}?l=bob").status_int == 404
    assert ask(b, f"{HU}{BOBS}").status_int == 404


def test_what_goes_wrong_is_not_the_sites(b: XHMTP, monkeypatch: pytest.MonkeyPatch):
    def fails(error: Exception) -> Any:
        def get(*_: Any) -> None:
            raise error

        return get

    monkeypatch.setattr(openpgp_keys, "get", fails(DatabaseUnavailable("not now")))
    answer = ask(b, f"{HU}{BOBS}?l=bob")
    assert (answer.status_int, answer.headers["Retry-After"]) == (503, "60")
    monkeypatch.setattr(openpgp_keys, "get", fails(RuntimeError("broken")))
    answer = ask(b, f"{HU}{BOBS}?l=bob")
    assert answer.status_int == 500
    assert "broken" not in answer.text


@given(st.text(max_size=80))
def test_any_path_is_read_or_not_the_directorys(path: str):
    for whole in (path, ROOT + path, HU + path):
        found = WebKeyPath.parse(whole)
        assert found is None or (found.hash is None or len(found.hash) == 32)


def test_in_a_pyramid_application_it_is_before_the_application(tmp_path: Any):
    from pyramid.config import Configurator

    def application(**more: str) -> Any:
        database = f"sqlite:///{tmp_path}/xhmtp.db"
        given_settings = {"xhmtp.database": database, "xhmtp.domain.b.example.prefix": "x", **more}
        config = Configurator(settings=given_settings)
        config.include("xhmtp_wsgi.pyramid")
        config.add_route("all", "/*path")
        config.add_view(lambda _request: Response(b"the application's"), route_name="all")
        return config.make_wsgi_app()

    with_one = application(**{"xhmtp.domain.b.example.web_key_directory": "true"})
    agent = with_one.registry["xhmtp"].agent
    agent.accounts.add(BOB, "builder")
    openpgp_keys.put(agent.database, BOB, HIS, agent.clock())
    assert ask(with_one, f"{HU}{BOBS}?l=bob").body == HIS.octets
    assert ask(with_one, "/other").body == b"the application's"
    assert ask(application(), f"{HU}{BOBS}?l=bob").body == b"the application's"
