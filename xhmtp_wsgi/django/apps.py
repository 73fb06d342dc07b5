"""The Django application: it holds the project's one agent, made when it is first asked for."""

from functools import cached_property

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import register
from django.utils.module_loading import import_string

from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.arrival import Arrival
from xhmtp_wsgi.django.settings import settings_of


class XHMTPConfig(AppConfig):
    """``xhmtp_wsgi.django`` in INSTALLED_APPS."""

    name = "xhmtp_wsgi.django"
    label = "xhmtp"
    verbose_name = "XHMTP"

    @cached_property
    def agent(self) -> Agent:
        """The agent. Raises SettingsError."""
        users = import_string(
            getattr(django_settings, "XHMTP_USERS", "xhmtp_wsgi.django.users.DjangoUsers")
        )
        return make_agent(settings_of(django_settings), users=users(), on_arrival=_heard)

    def ready(self) -> None:
        """Has ``manage.py check`` look at the settings; opens nothing."""
        from xhmtp_wsgi.django.checks import check_from, check_settings, check_wsgi

        for check in (check_settings, check_wsgi, check_from):
            register(check)


def _heard(arrival: Arrival) -> None:
    from xhmtp_wsgi.django import notification_arrived

    # Robust: a receiver that fails is logged, and keeps no other from hearing.
    notification_arrived.send_robust(XHMTPConfig, arrival=arrival)
