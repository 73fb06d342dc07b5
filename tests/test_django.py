"""XHMTP in a Django project: its settings and checks, its users and session, its database."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.test.utils import override_settings
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url

from tests.by_hand import ZONE, feed, inject, notify
from tests.conftest import new_postgresql_database
from tests.django_project import DOMAIN, project, user, wrapped
from tests.documents import block
from tests.fakes.resolver import FakeResolver
from tests.world import call
from xhmtp_wsgi import Arrival
from xhmtp_wsgi.errors import SettingsError


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Any]:
    """A project with alice and bob, and XHMTP around it."""
    with project(tmp_path, FakeResolver(ZONE)):
        user("alice", "wonderland")
        user("bob", "builder")
        yield wrapped()


def session_of(site: Any, name: str) -> dict[str, str]:
    """The session of whom the project's own page has logged in, as a browser sends it."""
    header = call(site, f"/login/{name}").headers["Set-Cookie"]
    return {"Cookie": header.partition(";")[0]}


def test_users_log_in_with_their_passwords(site: Any):
    for login in ("alice:wonderland", "alice@a.example:wonderland", "ALICE:wonderland"):
        assert inject(site, "alice@a.example", login).status_int in (201, 200), login
    assert feed(site, "bob@a.example", "bob:builder").status_int == 200
    for login in ("alice:builder", "alice:", "eve:x", "alice@b.example:wonderland"):
        assert inject(site, "alice@a.example", login).status_int == 401, login
    assert inject(site, "alice@a.example", "bob:builder").status_int == 403


def test_a_user_can_be_written_to_before_he_ever_logs_in(site: Any):
    assert notify(site, "bob@a.example").status_int == 201
    assert "hello" in feed(site, "bob@a.example", "bob:builder").text
    assert notify(site, "eve@a.example").status_int == 404


def test_whoever_is_not_active_is_no_user(site: Any):
    bob = session_of(site, "bob")
    from django.contrib.auth import get_user_model

    get_user_model().objects.filter(username="bob").update(is_active=False)
    assert feed(site, "bob@a.example", "bob:builder").status_int == 401
    assert feed(site, "bob@a.example", headers=bob).status_int == 401
    assert notify(site, "bob@a.example").status_int == 404


def test_whoever_is_in_the_session_is_logged_in(site: Any):
    bob = session_of(site, "bob")
    assert feed(site, "bob@a.example", headers=bob).status_int == 200
    assert inject(site, "bob@a.example", headers=bob).status_int == 201
    assert feed(site, "alice@a.example", headers=bob).status_int == 401
    assert inject(site, "alice@a.example", headers=bob).status_int == 403
    for cookie in ("sessionid=", "sessionid=x", "sessionid=" + "a" * 32, "other=1", "sessionid"):
        assert feed(site, "bob@a.example", headers={"Cookie": cookie}).status_int == 401


def test_a_page_elsewhere_cannot_use_the_session(site: Any):
    bob = session_of(site, "bob")
    for asked_by, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 201)):
        headers = {**bob, "Sec-Fetch-Site": asked_by}
        assert inject(site, "bob@a.example", headers=headers).status_int == status


def test_a_session_ends_with_the_password_and_is_not_changed_by_us(site: Any):
    from django.contrib.auth import get_user_model
    from django.contrib.sessions.models import Session

    bob = session_of(site, "bob")
    before = Session.objects.values_list("session_key", "session_data").get()
    # With a new secret, Django would give the browser a new cookie, which our answer cannot bring.
    with override_settings(SECRET_KEY="a new one", SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
        assert feed(site, "bob@a.example", headers=bob).status_int == 200
    assert Session.objects.values_list("session_key", "session_data").get() == before
    someone = get_user_model().objects.get(username="bob")
    someone.set_password("another")
    someone.save()
    assert feed(site, "bob@a.example", headers=bob).status_int == 401
    assert Session.objects.count() == 1


@pytest.mark.parametrize("other", ["bob@a.example", "BOB"])
def test_an_address_that_could_be_two_users_is_neithers(site: Any, other: str):
    """Whoever registers under another's address must not read his messages."""
    user(other, "of another")
    for name, password in (("bob", "builder"), (other, "of another")):
        assert feed(site, "bob@a.example", f"bob:{password}").status_int == 401
        assert feed(site, "bob@a.example", f"bob@a.example:{password}").status_int == 401
        assert feed(site, "bob@a.example", headers=session_of(site, name)).status_int == 401
    assert notify(site, "bob@a.example").status_int == 404


def test_a_user_whose_name_is_his_address_has_that_address(site: Any):
    user("cheryl@a.example", "crow")
    assert feed(site, "cheryl@a.example", "cheryl:crow").status_int == 200
    cheryl = session_of(site, "cheryl@a.example")
    assert feed(site, "cheryl@a.example", headers=cheryl).status_int == 200
    user("dave@elsewhere.example", "grohl")
    dave = session_of(site, "dave@elsewhere.example")
    assert feed(site, "dave@a.example", headers=dave).status_int == 401


def test_a_project_may_make_addresses_of_something_else(tmp_path: Path):
    names: dict[str, Any] = {}
    with project(tmp_path, XHMTP_USERS="tests.test_django.by_email"):
        exec(block("docs/django.md", "python", "# mysite/addresses.py"), names)
        globals()["by_email"] = names["ByEmail"]
        site = wrapped()
        user("b1", "builder", email="Bob@a.example")
        assert feed(site, "bob@a.example", "bob:builder").status_int == 200
        assert feed(site, "bob@a.example", headers=session_of(site, "b1")).status_int == 200
        assert feed(site, "b1@a.example", "b1:builder").status_int == 401
        user("b2", "second", email="bob@A.example")
        assert feed(site, "bob@a.example", "bob:builder").status_int == 401
        assert feed(site, "bob@a.example", headers=session_of(site, "b1")).status_int == 401


def test_a_session_opens_no_address_that_is_another_users(tmp_path: Path):
    """Where a project finds users by e-mail, and does not say what their addresses are."""
    from xhmtp_wsgi.django.users import DjangoUsers

    class Half(DjangoUsers):
        def user_of(self, address: str) -> Any:
            from django.contrib.auth import get_user_model

            return get_user_model().objects.filter(email=address).first()

    globals()["half"] = Half
    with project(tmp_path, XHMTP_USERS="tests.test_django.half"):
        site = wrapped()
        user("bob", email="x@a.example")
        user("eve", email="bob@a.example")
        for name in ("bob", "eve"):
            session = session_of(site, name)
            assert feed(site, "bob@a.example", headers=session).status_int == 401


def test_receivers_hear_of_arrivals_and_one_that_fails_harms_nothing(
    site: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    from xhmtp_wsgi.django import notification_arrived

    heard: list[Arrival] = []

    def fails(**_: Any) -> None:
        raise RuntimeError("the site's own fault")

    def hears(arrival: Arrival, **_: Any) -> None:
        heard.append(arrival)

    names: dict[str, Any] = {}
    notification_arrived.connect(fails)
    notification_arrived.connect(hears)
    exec(block("docs/django.md", "python", "# anywhere that is imported"), names)
    try:
        assert notify(site, "bob@a.example").status_int == 201
        assert notify(site, "bob@a.example").status_int == 200
    finally:
        for receiver in (fails, hears, names["tell"]):
            notification_arrived.disconnect(receiver)
    [arrival] = heard
    assert (arrival.recipient, arrival.sender) == ("bob@a.example", "alice@sender.example")
    assert "the site's own fault" in caplog.text
    assert capsys.readouterr().out == "alice@sender.example has written to bob@a.example\n"
    assert "hello" in feed(site, "bob@a.example", "bob:builder").text


def found(**changed: Any) -> list[str]:
    """What ``manage.py check`` finds of XHMTP."""
    with override_settings(**changed):
        return [f"{one.id}: {one.msg}" for one in run_checks() if one.id.startswith("xhmtp.")]


wrapped_application: Any = None


def test_manage_check_finds_what_is_wrong(site: Any):
    globals()["wrapped_application"] = site
    right = {"WSGI_APPLICATION": "tests.test_django.wrapped_application"}
    assert found(**right) == []
    assert found(**right, XHMTP={"domain": {"a b": {}}})[0].startswith("xhmtp.E001: XHMTP: ")
    assert found(**right, XHMTP=None) == ["xhmtp.E001: XHMTP: XHMTP: is not in settings.py"]
    [unwrapped] = found()
    assert unwrapped.startswith("xhmtp.W001: tests.django_project.unwrapped is not wrapped")
    [broken] = found(WSGI_APPLICATION="tests.test_django.nothing")
    assert broken.startswith("xhmtp.E002: WSGI_APPLICATION cannot be imported")

    ours = {**right, "EMAIL_BACKEND": "xhmtp_wsgi.django.mail.EmailBackend"}
    assert found(**ours, DEFAULT_FROM_EMAIL="The shop <Shop@A.example>") == []
    told = found(**ours, DEFAULT_FROM_EMAIL="webmaster@localhost", SERVER_EMAIL="root@localhost")
    assert [line[:31] for line in told] == [
        "xhmtp.W002: DEFAULT_FROM_EMAIL ",
        "xhmtp.W002: SERVER_EMAIL is 'ro",
    ]


def test_the_commands_work_on_the_projects_own_agent(site: Any, capsys: pytest.CaptureFixture[str]):
    feed(site, "bob@a.example", "bob:builder")
    call_command("xhmtp", "user", "list")
    assert capsys.readouterr().out.split() == ["bob@a.example"]
    with pytest.raises(CommandError, match="has no account here"):
        call_command("xhmtp", "token", "add", "nobody@a.example")
    call_command("xhmtp_notify")
    assert capsys.readouterr().out == "", "silent when all is well"


# Django itself keeps the connections that it has: only we look at what is changed here.
OTHER_DATABASES = pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
OURS = {"account", "message", "notice", "alembic_version"}


@OTHER_DATABASES
def test_the_tables_may_be_in_djangos_own_sqlite_file(tmp_path: Path):
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "db.sqlite3"}
    changed: dict[str, Any] = {
        "XHMTP": {"database": "django", "domain": {"a.example": DOMAIN}},
        "DATABASES": {"default": database},
    }
    with project(tmp_path, **changed):
        user("bob", "builder")
        assert feed(wrapped(), "bob@a.example", "bob:builder").status_int == 200
    assert set(inspect(create_engine(f"sqlite:///{tmp_path}/db.sqlite3")).get_table_names()) >= OURS


@OTHER_DATABASES
def test_the_tables_are_in_a_schema_of_their_own_in_djangos_postgresql(
    tmp_path: Path, postgresql: str
):
    for url in new_postgresql_database(postgresql):
        parts = make_url(url)
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.database,
            "USER": parts.username,
            "PASSWORD": parts.password,
            "HOST": parts.host,
            "PORT": parts.port,
        }
        changed: dict[str, Any] = {
            "XHMTP": {"database": "django:other", "domain": {"a.example": DOMAIN}},
            "DATABASES": {"default": {}, "other": database},
        }
        with project(tmp_path, **changed):
            user("bob", "builder")
            assert feed(wrapped(), "bob@a.example", "bob:builder").status_int == 200
            assert inject(wrapped(), "bob@a.example", "bob:builder").status_int == 201
        engine = create_engine(parts.set(drivername="postgresql+psycopg"))
        assert set(inspect(engine).get_table_names(schema="xhmtp")) >= OURS
        assert inspect(engine).get_table_names(schema="public") == []
        engine.dispose()


@OTHER_DATABASES
@pytest.mark.parametrize(
    ("named", "databases", "says"),
    [
        ("django:other", {"default": {}}, "no database 'other'"),
        ("django", {"default": {"ENGINE": "django.db.backends.mysql"}}, "neither SQLite nor"),
    ],
)
def test_a_database_that_cannot_be_shared_is_named(
    tmp_path: Path, named: str, databases: Any, says: str
):
    given = {"database": named, "domain": {"a.example": DOMAIN}}
    with (
        project(tmp_path, XHMTP=given, DATABASES=databases),
        pytest.raises(SettingsError, match=says),
    ):
        wrapped()


def test_the_settings_may_be_a_file(tmp_path: Path):
    (tmp_path / "xhmtp.toml").write_text('[domain."a.example"]\nprefix = "xhmtp"\n')
    with project(tmp_path, XHMTP="xhmtp.toml"):
        assert wrapped().agent.database.file == tmp_path / "xhmtp.db"
