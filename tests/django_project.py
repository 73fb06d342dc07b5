"""A Django project in this process: Django takes its settings once, so that all tests share one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from django.urls import path

from xhmtp_wsgi.agent import make_agent
from xhmtp_wsgi.dns_resolver import Resolver

SETTINGS: dict[str, Any] = {
    "SECRET_KEY": "not secret",
    "ALLOWED_HOSTS": ["*"],
    "ROOT_URLCONF": __name__,
    "WSGI_APPLICATION": f"{__name__}.unwrapped",
    "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
    "INSTALLED_APPS": [
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "xhmtp_wsgi.django",
    ],
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    # A fast one: the tests are not of Django's.
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    "DEFAULT_FROM_EMAIL": "alice@a.example",
    "SERVER_EMAIL": "alice@a.example",
    "LOGGING_CONFIG": None,
}
DOMAIN = {"prefix": "xhmtp", "agent": "http://server.a.example"}


def unwrapped(environ: dict[str, Any], start_response: Any) -> Any:
    """The project's WSGI application, as it is without XHMTP."""
    return get_wsgi_application()(environ, start_response)


def wrapped() -> Any:
    """The same with XHMTP around it, as docs/django.md has it."""
    from xhmtp_wsgi.django import XHMTP

    return XHMTP(get_wsgi_application())


def login(request: HttpRequest, name: str) -> HttpResponse:
    """A page that logs in whom its path names."""
    from django.contrib.auth import get_user_model
    from django.contrib.auth import login as log_in

    log_in(request, get_user_model().objects.get(username=name))
    return HttpResponse("welcome")


urlpatterns = [path("login/<name>", login)]


@contextmanager
def project(
    directory: Path, resolver: Resolver | None = None, **changed: Any
) -> Iterator[Mapping[str, Any]]:
    """The project with no users in it, and an agent for a.example whose files are in there.

    ``changed``: settings.py; gives the settings that hold. ``resolver``: in place of the DNS.
    """
    if not settings.configured:
        settings.configure(**SETTINGS)
        django.setup()
        call_command("migrate", verbosity=0)
    from django.contrib.auth import get_user_model
    from django.contrib.sessions.models import Session

    for model in (get_user_model(), Session):
        model.objects.all().delete()
    given = {
        "XHMTP": {"database": f"sqlite:///{directory}/xhmtp.db", "domain": {"a.example": DOMAIN}},
        "BASE_DIR": directory,
        **changed,
    }
    config = apps.get_app_config("xhmtp")
    config.__dict__.pop("agent", None)
    with override_settings(**given):
        if resolver is not None:
            from xhmtp_wsgi.django.apps import _heard
            from xhmtp_wsgi.django.settings import settings_of
            from xhmtp_wsgi.django.users import DjangoUsers

            config.__dict__["agent"] = make_agent(
                settings_of(settings), resolver=resolver, users=DjangoUsers(), on_arrival=_heard
            )
        try:
            yield given
        finally:
            agent = config.__dict__.pop("agent", None)
            if agent is not None:
                agent.counters.write()
                agent.database.close()


def user(name: str, password: str = "", **fields: Any) -> Any:
    """A user of the project's."""
    from django.contrib.auth import get_user_model

    return get_user_model().objects.create_user(name, password=password, **fields)
