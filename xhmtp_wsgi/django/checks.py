"""What ``manage.py check`` says of XHMTP; ``manage.py xhmtp check`` looks at all the rest."""

from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name
from django.utils.module_loading import import_string

from xhmtp_wsgi.django.settings import settings_of
from xhmtp_wsgi.errors import SettingsError


def check_settings(app_configs: Any, **_options: Any) -> list[CheckMessage]:
    """Can the settings be read?"""
    try:
        settings_of(django_settings)
    except SettingsError as error:
        return [
            Error(
                f"XHMTP: {error}",
                hint='the least is XHMTP = {"domain": {"example.org": {}}}; see docs/settings.md',
                id="xhmtp.E001",
            )
        ]
    return []


def check_wsgi(app_configs: Any, **_options: Any) -> list[CheckMessage]:
    """Is XHMTP around the project's WSGI application?"""
    from xhmtp_wsgi.middleware import XHMTP

    name = getattr(django_settings, "WSGI_APPLICATION", None)
    if name is None or check_settings(app_configs):
        return []
    try:
        application = import_string(name)
    except ImportError as error:
        return [Error(f"WSGI_APPLICATION cannot be imported: {error}", id="xhmtp.E002")]
    if isinstance(application, XHMTP):
        return []
    return [
        Warning(
            f"{name} is not wrapped in XHMTP: nothing answers below the prefix.",
            hint="In wsgi.py: application = XHMTP(get_wsgi_application()), "
            "from xhmtp_wsgi.django import XHMTP.",
            id="xhmtp.W001",
        )
    ]


def check_from(app_configs: Any, **_options: Any) -> list[CheckMessage]:
    """Can what Django sends by itself go by XHMTP?"""
    backend = getattr(django_settings, "EMAIL_BACKEND", "")
    if backend != "xhmtp_wsgi.django.mail.EmailBackend" or check_settings(app_configs):
        return []
    domains = settings_of(django_settings).domains
    return [
        Warning(
            f"{name} is {address!r}, not of a domain in XHMTP: whatever is sent with it fails.",
            hint=f"{name} = 'somebody@{next(iter(domains))}', or so.",
            id="xhmtp.W002",
        )
        for name in ("DEFAULT_FROM_EMAIL", "SERVER_EMAIL")
        if (address := str(getattr(django_settings, name))).rpartition("@")[2].rstrip(">").lower()
        not in domains
    ]
