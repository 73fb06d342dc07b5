"""XHMTP in a Pyramid application: its settings, its security policy, its events."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.events import NewRequest
from pyramid.request import Request
from pyramid.response import Response
from pyramid.router import default_execution_policy
from pyramid.threadlocal import get_current_request
from pyramid.tweens import INGRESS

from tests.by_hand import ZONE, feed, inject, notify
from tests.live.delivery import name_server
from tests.world import call
from xhmtp_wsgi import Arrival
from xhmtp_wsgi.errors import SettingsError
from xhmtp_wsgi.pyramid import MessageArrived, PyramidUsers, settings_of

DOMAIN = {
    "xhmtp.domain.a.example.prefix": "xhmtp",
    "xhmtp.domain.a.example.agent": "http://server.a.example",
}


class Policy:
    """Believes a cookie, and looks at all that a policy may look at."""

    def authenticated_userid(self, request: Request) -> str | None:
        assert get_current_request() is request
        assert request.added == "by the application"
        assert list(request.POST) == [], "a message is not the policy's to read"
        name: str | None = request.cookies.get("name")
        return name


class Users(PyramidUsers):
    """alice and bob, by their passwords."""

    def exists(self, address: str) -> bool | None:
        return address in ("alice@a.example", "bob@a.example")

    def check_password(self, address: str, password: str) -> bool:
        return (address, password) == ("bob@a.example", "builder")


@pytest.fixture
def dns() -> Iterator[int]:
    with name_server(ZONE) as server:
        yield server.port


def by_the_application(_request: Request) -> str:
    return "by the application"


def configured(
    directory: Path, added: Callable[[Request], str] = by_the_application, **settings: Any
) -> Configurator:
    """A site with a policy, and XHMTP; ``added``: what it adds to its requests."""
    given = {"xhmtp.database": f"sqlite:///{directory}/xhmtp.db", **DOMAIN, **settings}
    config = Configurator(settings={"xhmtp.users": Users, **given})
    config.set_security_policy(Policy())
    config.add_request_method(added, "added", property=True)
    config.include("xhmtp_wsgi.pyramid")
    return config


def named(name: str) -> dict[str, str]:
    return {"Cookie": f"name={name}"}


def test_whom_the_policy_names_is_logged_in(tmp_path: Path):
    site = configured(tmp_path).make_wsgi_app()
    for name in ("bob", "bob@a.example"):
        assert feed(site, "bob@a.example", headers=named(name)).status_int == 200
        assert inject(site, "bob@a.example", headers=named(name)).status_int in (201, 200)
    for name in ("", "Bob", "BOB@a.example", "bob@b.example", "alice"):
        assert feed(site, "bob@a.example", headers=named(name)).status_int == 401, name
    assert feed(site, "bob@a.example").status_int == 401


def test_a_page_elsewhere_cannot_use_the_policys_cookie(tmp_path: Path):
    site = configured(tmp_path).make_wsgi_app()
    for asked_by, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 201)):
        headers = {**named("bob"), "Sec-Fetch-Site": asked_by}
        assert inject(site, "bob@a.example", headers=headers).status_int == status


def test_users_log_in_with_their_passwords(tmp_path: Path):
    site = configured(tmp_path).make_wsgi_app()
    assert feed(site, "bob@a.example", "bob:builder").status_int == 200
    assert feed(site, "bob@a.example", "bob:wrong").status_int == 401
    assert feed(site, "alice@a.example", "alice:builder").status_int == 401


def test_what_a_request_opened_is_closed(tmp_path: Path):
    """A database session that a policy asks for is closed as after any request."""
    closed: list[str] = []

    def added(request: Request) -> str:
        request.add_finished_callback(lambda _: closed.append("closed"))
        return "by the application"

    site = configured(tmp_path, added).make_wsgi_app()
    feed(site, "bob@a.example", headers=named("bob"))
    assert closed == ["closed"]
    assert get_current_request() is None


SEEN: list[str] = []


def watching(handler: Callable[[Request], Response], _registry: Any) -> Any:
    """A tween that notes what passes, and changes every answer."""

    def tween(request: Request) -> Response:
        SEEN.append(request.path)
        answer = handler(request)
        answer.headers["X-Seen"] = "yes"
        return answer

    return tween


@pytest.mark.parametrize("under", [None, INGRESS])
def test_nothing_of_the_application_changes_our_answer(tmp_path: Path, under: str | None):
    config = configured(tmp_path)
    SEEN.clear()
    config.add_tween("tests.test_pyramid.watching", under=under)
    config.add_subscriber(lambda event: SEEN.append("subscriber"), NewRequest)
    config.add_route("all", "/*rest")
    config.add_view(lambda request: Response("the site"), route_name="all")
    site = config.make_wsgi_app()

    answer = call(site, "/xhmtp/no/such/thing")
    assert answer.status_int == 404
    assert answer.content_type == "application/problem+json"
    assert "X-Seen" not in answer.headers
    assert SEEN == []
    assert call(site, "/xhmtpx").headers["X-Seen"] == "yes"
    assert SEEN == ["/xhmtpx", "subscriber"]


def test_an_execution_policy_of_the_applications_goes_on_working(tmp_path: Path):
    """pyramid_retry has one, and may be included after us."""
    config = configured(tmp_path)
    config.commit()
    tries: list[str] = []

    def policy(environ: dict[str, Any], router: Any) -> Any:
        tries.append(environ["PATH_INFO"])
        return default_execution_policy(environ, router)

    config.set_execution_policy(policy)
    site = config.make_wsgi_app()
    assert call(site, "/xhmtp/nothing").content_type == "application/problem+json"
    assert call(site, "/nothing").status_int == 404
    assert tries == ["/nothing"]


def test_a_location_is_a_path_whatever_host_the_client_names(tmp_path: Path):
    site = configured(tmp_path).make_wsgi_app()
    created = inject(site, "bob@a.example", "bob:builder", headers={"Host": "evil.example"})
    assert created.headers["Location"].startswith("/xhmtp/bob/")


def test_subscribers_hear_of_arrivals_and_one_that_fails_harms_nothing(
    tmp_path: Path, dns: int, caplog: pytest.LogCaptureFixture
):
    network: dict[str, Any] = {
        "xhmtp.resolver": f"127.0.0.1:{dns}",
        "xhmtp.allow_networks": "127.0.0.0/8",
    }
    config = configured(tmp_path, **network)
    heard: list[Arrival] = []

    def fails(event: MessageArrived) -> None:
        raise RuntimeError("the site's own fault")

    config.add_subscriber(fails, MessageArrived)
    config.add_subscriber(lambda event: heard.append(event.arrival), MessageArrived)
    site = config.make_wsgi_app()
    assert notify(site, "bob@a.example").status_int == 201
    [arrival] = heard
    assert (arrival.recipient, arrival.sender) == ("bob@a.example", "alice@sender.example")
    assert "the site's own fault" in caplog.text
    assert "hello" in feed(site, "bob@a.example", "bob:builder").text
    assert notify(site, "eve@a.example").status_int == 404
    assert len(heard) == 1


def test_a_view_hands_in_a_message(tmp_path: Path):
    config = configured(tmp_path)

    def write(request: Request) -> Response:
        message = b"From: bob@a.example\r\nTo: x@b.example\r\n\r\nhello\r\n"
        return Response(request.xhmtp.submit(message))

    config.add_route("write", "/write")
    config.add_view(write, route_name="write")
    site = config.make_wsgi_app()
    identifier = call(site, "/write").text
    status = call(site, f"/xhmtp/bob/{identifier}/status", headers=named("bob"))
    assert status.json["recipients"][0]["address"] == "x@b.example"


def test_settings_stand_in_the_ini_file_or_in_one_of_their_own(tmp_path: Path):
    settings = settings_of({**DOMAIN, "xhmtp.page_size": "7", "xhmtp.domains": "b.example"})
    assert settings.page_size == 7
    assert sorted(settings.domains) == ["a.example", "b.example"]
    assert settings.domains["a.example"].prefix == "xhmtp"
    file = tmp_path / "xhmtp.toml"
    file.write_text('[domain."c.example"]\n')
    assert list(settings_of({"xhmtp.config": str(file)}).domains) == ["c.example"]


@pytest.mark.parametrize(
    ("given", "named_setting"),
    [
        ({}, "domain"),
        ({**DOMAIN, "xhmtp.pagesize": "7"}, "pagesize"),
        ({**DOMAIN, "xhmtp.page_size": "many"}, "page_size"),
        ({"xhmtp.domain.a.example.prefx": "x"}, "xhmtp.domain.a.example.prefx"),
    ],
)
def test_a_wrong_setting_is_named_at_start(given: dict[str, Any], named_setting: str):
    with pytest.raises(SettingsError) as caught:
        Configurator(settings=given).include("xhmtp_wsgi.pyramid")
    assert caught.value.setting == named_setting
