"""XHMTP in a Django project: ``"xhmtp_wsgi.django"`` in INSTALLED_APPS, and one line in wsgi.py.

    from xhmtp_wsgi.django import XHMTP
    application = XHMTP(get_wsgi_application())

The settings are ``XHMTP`` in settings.py, a dict of the shape of xhmtp.toml or the path of such a
file. Users are Django's own. ``manage.py xhmtp ...`` has the commands, ``manage.py xhmtp_notify``
is for cron, ``xhmtp_wsgi.django.mail`` has e-mail backends. docs/django.md has the whole.
"""

from collections.abc import Callable, Iterable, Sequence
from email.message import EmailMessage

from django.dispatch import Signal

from xhmtp_wsgi import middleware
from xhmtp_wsgi.agent import Agent

notification_arrived = Signal()
"""Sent for each notification that was taken; ``arrival`` is an ``xhmtp_wsgi.Arrival``."""


class XHMTP(middleware.XHMTP):
    """XHMTP around a Django project's WSGI application."""

    def __init__(self, site: Callable[..., Iterable[bytes]]) -> None:
        """``site``: what ``get_wsgi_application()`` returns. Raises SettingsError."""
        agent = the_agent()
        super().__init__(site, agent.settings, agent=agent)


def the_agent() -> Agent:
    """The project's agent. Raises SettingsError."""
    from django.apps import apps

    from xhmtp_wsgi.django.apps import XHMTPConfig

    config = apps.get_app_config("xhmtp")
    assert isinstance(config, XHMTPConfig)  # noqa: S101 - it has our label
    return config.agent


def submit(
    message: EmailMessage | bytes,
    *,
    sender: str | None = None,
    recipients: Sequence[str] | None = None,
) -> str:
    """Hands in a message, as ``xhmtp_wsgi.XHMTP.submit`` does."""
    return middleware.submit(the_agent(), message, sender=sender, recipients=recipients)
