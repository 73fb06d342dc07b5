"""XHMTP in a Flask application: its settings, its users, its session, its signal."""

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flask
import pytest
from flask_login import LoginManager, UserMixin, login_user

from tests.by_hand import ZONE, feed, inject, notify
from tests.documents import block
from tests.live.delivery import name_server
from tests.world import call
from xhmtp_wsgi import Arrival
from xhmtp_wsgi.errors import SettingsError
from xhmtp_wsgi.flask import XHMTP, notification_arrived
from xhmtp_wsgi.protocol.endpoint import Endpoint

DOMAIN = {"prefix": "xhmtp", "agent": "http://server.a.example"}
USERS = {"alice": "wonderland", "bob": "builder"}


@pytest.fixture
def dns() -> Iterator[int]:
    with name_server(ZONE) as server:
        yield server.port


def application(directory: Path, **settings: Any) -> flask.Flask:
    """A site with a session, whose log-in believes every name."""
    app = flask.Flask("site", instance_path=str(directory / "instance"))
    app.config["SECRET_KEY"] = "not secret"
    app.config["XHMTP"] = {"domain": {"a.example": DOMAIN}, **settings}

    @app.get("/login/<name>")
    def login(name: str) -> str:
        flask.session["name"] = name
        return "welcome"

    return app


def with_users(app: flask.Flask) -> XHMTP:
    """XHMTP in it, told of its users as docs/flask.md has it."""
    xhmtp = XHMTP(app)
    xhmtp.user_exists(lambda address: address.partition("@")[0] in USERS)
    xhmtp.check_password(lambda address, word: USERS.get(address.partition("@")[0]) == word)
    xhmtp.logged_in(lambda: flask.session.get("name"))
    return xhmtp


def cookie(app: flask.Flask, path: str) -> dict[str, str]:
    """The session that this page begins, as a browser sends it."""
    header = call(app.wsgi_app, path).headers["Set-Cookie"]
    return {"Cookie": header.partition(";")[0]}


def test_users_log_in_with_their_passwords(tmp_path: Path):
    app = application(tmp_path)
    with_users(app)
    for login in ("alice:wonderland", "alice@a.example:wonderland", "Alice:wonderland"):
        assert inject(app.wsgi_app, "alice@a.example", login).status_int in (201, 200)
        assert feed(app.wsgi_app, "bob@a.example", "bob:builder").status_int == 200
    for login in ("alice:builder", "alice:", "eve:x", "alice@b.example:wonderland", "bob:builder"):
        assert inject(app.wsgi_app, "alice@a.example", login).status_int in (401, 403), login


def test_whoever_is_in_the_session_is_logged_in(tmp_path: Path):
    app = application(tmp_path)
    with_users(app)
    session = cookie(app, "/login/bob")
    assert feed(app.wsgi_app, "bob@a.example", headers=session).status_int == 200
    assert inject(app.wsgi_app, "bob@a.example", headers=session).status_int == 201
    assert feed(app.wsgi_app, "alice@a.example", headers=session).status_int == 401
    assert inject(app.wsgi_app, "alice@a.example", headers=session).status_int == 403
    forged = {"Cookie": session["Cookie"][:-3] + "AAA"}
    assert feed(app.wsgi_app, "bob@a.example", headers=forged).status_int == 401


def test_a_page_elsewhere_cannot_use_the_session(tmp_path: Path):
    app = application(tmp_path)
    with_users(app)
    session = cookie(app, "/login/bob")
    for asked_by, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 201)):
        headers = {**session, "Sec-Fetch-Site": asked_by}
        assert inject(app.wsgi_app, "bob@a.example", headers=headers).status_int == status


def test_bob_is_not_bob_in_capitals(tmp_path: Path):
    """In Flask's tutorial the two are two users."""
    app = application(tmp_path)
    with_users(app)
    session = cookie(app, "/login/BOB")
    assert feed(app.wsgi_app, "bob@a.example", headers=session).status_int == 401


def test_the_functions_run_in_the_application_and_see_no_body(tmp_path: Path):
    app = application(tmp_path)
    xhmtp = XHMTP(app)
    seen: list[str] = []

    @xhmtp.user_exists
    def exists(address: str) -> bool:
        seen.append(f"{flask.current_app.name} has {address}?")
        return True

    @xhmtp.logged_in
    def who() -> str:
        seen.append(f"{flask.request.method} {flask.request.get_data(as_text=True)!r}")
        return "alice"

    created = inject(app.wsgi_app, "alice@a.example")
    assert created.status_int == 201
    assert call(app.wsgi_app, created.headers["Location"] + "/status").status_int == 200
    app.extensions["xhmtp"].agent.accounts.find(Endpoint.parse("bob@a.example"))
    assert seen == ["POST ''", "GET ''", "site has bob@a.example?"]


def flask_login(xhmtp: XHMTP) -> None:
    exec(block("docs/flask.md", "python", "# with Flask-Login"), {"xhmtp": xhmtp})


def test_flask_login_is_asked_as_the_document_says(tmp_path: Path):
    app = application(tmp_path)

    class User(UserMixin):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.id = name

    manager = LoginManager(app)
    manager.user_loader(lambda name: User(name) if name in USERS else None)

    @app.get("/enter/<name>")
    def enter(name: str) -> str:
        login_user(User(name))
        return "welcome"

    flask_login(XHMTP(app))
    bob = cookie(app, "/enter/bob")
    assert feed(app.wsgi_app, "bob@a.example", headers=bob).status_int == 200
    assert inject(app.wsgi_app, "bob@a.example", headers=bob).status_int == 201
    assert feed(app.wsgi_app, "bob@a.example").status_int == 401
    assert feed(app.wsgi_app, "eve@a.example", headers=cookie(app, "/enter/eve")).status_int == 401


def test_a_site_that_tells_of_no_users_has_those_of_the_commands(tmp_path: Path):
    app = application(tmp_path)
    XHMTP(app)
    run = app.test_cli_runner().invoke
    assert (
        run(args=["xhmtp", "user", "add", "bob@a.example", "-"], input="builder\n").exit_code == 0
    )
    assert feed(app.wsgi_app, "bob@a.example", "bob:builder").status_int == 200
    assert feed(app.wsgi_app, "bob@a.example", "bob:wrong").status_int == 401


def test_the_commands_are_told_of_among_those_of_flask(tmp_path: Path):
    app = application(tmp_path)
    XHMTP(app)
    run = app.test_cli_runner().invoke
    assert re.search(r"\n +xhmtp +Private messages", run(args=["--help"]).output)
    ours = run(args=["xhmtp", "--help"]).output
    assert re.search(r"\n +notify ", ours)
    assert not re.search(r"\n +init ", ours)
    assert "No such command 'init'" in run(args=["xhmtp", "init"]).output


def test_receivers_hear_of_arrivals_and_one_that_fails_harms_nothing(
    tmp_path: Path, dns: int, caplog: pytest.LogCaptureFixture
):
    app = application(tmp_path, resolver=[f"127.0.0.1:{dns}"], allow_networks=["127.0.0.0/8"])
    with_users(app)
    heard: list[Arrival] = []

    def fails(app: flask.Flask, arrival: Arrival) -> None:
        raise RuntimeError("the site's own fault")

    def hears(app: flask.Flask, arrival: Arrival) -> None:
        assert flask.current_app.name == app.name
        heard.append(arrival)

    def not_ours(app: flask.Flask, arrival: Arrival) -> None:
        raise AssertionError("it listens to another application")

    receivers: list[Callable[..., None]] = [fails, hears, fails]
    for receiver in receivers:
        notification_arrived.connect(receiver, app)
    notification_arrived.connect(not_ours, SimpleNamespace())
    assert notify(app.wsgi_app, "bob@a.example").status_int == 201
    [arrival] = heard
    assert (arrival.recipient, arrival.sender) == ("bob@a.example", "alice@sender.example")
    assert "the site's own fault" in caplog.text
    assert "hello" in feed(app.wsgi_app, "bob@a.example", "bob:builder").text
    assert notify(app.wsgi_app, "bob@a.example").status_int == 200
    assert len(heard) == 1, "the same again is no arrival"


def test_the_documents_receiver_hears(tmp_path: Path, dns: int, caplog: pytest.LogCaptureFixture):
    app = application(tmp_path, resolver=[f"127.0.0.1:{dns}"], allow_networks=["127.0.0.0/8"])
    with_users(app)
    names: dict[str, Any] = {}
    exec(block("docs/flask.md", "python", "# anywhere"), names)
    with caplog.at_level(logging.INFO):
        notify(app.wsgi_app, "bob@a.example")
    notification_arrived.disconnect(names["tell"])
    assert "alice@sender.example has written to bob@a.example" in caplog.text


def test_paths_are_below_the_instance_folder_or_the_settings_file(tmp_path: Path):
    app = application(tmp_path)
    XHMTP(app)
    file = app.extensions["xhmtp"].agent.database.file
    assert file == tmp_path / "instance" / "xhmtp.db"

    other = flask.Flask("other", root_path=str(tmp_path))
    (tmp_path / "xhmtp.toml").write_text('[domain."a.example"]\nprefix = "xhmtp"\n')
    other.config["XHMTP_CONFIG"] = "xhmtp.toml"
    XHMTP(other)
    assert other.extensions["xhmtp"].agent.database.file == tmp_path / "xhmtp.db"


def test_a_site_without_settings_is_told_where_they_belong():
    with pytest.raises(SettingsError, match=r"app\.config"):
        XHMTP(flask.Flask("site"))


def test_one_object_serves_several_applications(tmp_path: Path):
    xhmtp = XHMTP()
    xhmtp.logged_in(lambda: flask.session.get("name"))
    for name in ("one", "two"):
        app = application(tmp_path / name)
        xhmtp.init_app(app)
        session = cookie(app, "/login/bob")
        assert feed(app.wsgi_app, "bob@a.example", headers=session).status_int == 200
    with app.app_context():
        identifier = xhmtp.submit(b"From: bob@a.example\r\nTo: x@b.example\r\n\r\nhello\r\n")
    assert len(identifier) >= 22
