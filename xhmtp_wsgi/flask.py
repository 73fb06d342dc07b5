"""XHMTP in a Flask application: ``XHMTP(app)``, or ``init_app`` in a factory.

    from xhmtp_wsgi.flask import XHMTP
    xhmtp = XHMTP(app)

The settings are ``app.config["XHMTP"]``, a dict of the shape of xhmtp.toml with relative paths
below the instance folder; or ``app.config["XHMTP_CONFIG"]``, the path of such a file. The commands
are below ``flask xhmtp``. docs/flask.md tells how the site's own log-in is used.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any

from blinker import Namespace
from click import Command
from flask import Flask

from xhmtp_wsgi import middleware
from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.arrival import Arrival, tell_each
from xhmtp_wsgi.commands.late import LateCommand
from xhmtp_wsgi.errors import SettingsError
from xhmtp_wsgi.settings import Settings
from xhmtp_wsgi.site_users import SiteUsers, one_users_name, without_body

notification_arrived = Namespace().signal("xhmtp-notification-arrived")
"""A blinker signal: the sender is the app, ``arrival`` an ``xhmtp_wsgi.Arrival``."""

PasswordCheck = Callable[[str, str], bool]
UserLookup = Callable[[str], bool]
LoggedIn = Callable[[], str | None]


class XHMTP:
    """A Flask extension; one object may serve several applications."""

    def __init__(self, app: Flask | None = None, users: SiteUsers | None = None) -> None:
        """``users``: the site's, in place of the functions below. Raises SettingsError."""
        self._users = users
        self._functions: dict[str, Callable[..., Any]] = {}
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Adds XHMTP to an application. Raises SettingsError."""
        settings = _settings(app)

        def heard(arrival: Arrival) -> None:
            receivers = notification_arrived.receivers_for(app)
            with app.app_context():
                tell_each(arrival, [partial(one, app, arrival=arrival) for one in receivers])

        agent = make_agent(
            settings, users=self._users or _FlaskUsers(app, self._functions), on_arrival=heard
        )
        wrapped = middleware.XHMTP(app.wsgi_app, settings, agent=agent)
        app.wsgi_app = wrapped  # type: ignore[method-assign]
        app.extensions["xhmtp"] = wrapped
        app.cli.add_command(LateCommand("xhmtp", lambda: _commands(agent)))

    def check_password(self, function: PasswordCheck) -> PasswordCheck:
        """Decorates the function of the site's that checks an address and a password."""
        self._functions["check_password"] = function
        return function

    def user_exists(self, function: UserLookup) -> UserLookup:
        """Decorates the function of the site's that tells whether an address has a user."""
        self._functions["exists"] = function
        return function

    def logged_in(self, function: LoggedIn) -> LoggedIn:
        """Decorates the function that tells who is logged in, by the session, or None.

        It runs within the request, as a view does, and sees no body. It returns the user's name or
        whole address, in lower case; a name with capitals is taken for nobody's.
        """
        self._functions["logged_in"] = function
        return function

    def submit(
        self,
        message: EmailMessage | bytes,
        *,
        sender: str | None = None,
        recipients: Sequence[str] | None = None,
    ) -> str:
        """Hands in a message within an application context, as ``xhmtp_wsgi.XHMTP.submit`` does."""
        from flask import current_app

        wrapped: middleware.XHMTP = current_app.extensions["xhmtp"]
        return wrapped.submit(message, sender=sender, recipients=recipients)


class _FlaskUsers(SiteUsers):
    """What the site's functions say; each runs in a context of the application."""

    def __init__(self, app: Flask, functions: Mapping[str, Callable[..., Any]]) -> None:
        self._app = app
        self._functions = functions

    def exists(self, address: str) -> bool | None:
        function = self._functions.get("exists")
        if function is None:
            return None
        with self._app.app_context():
            return bool(function(address))

    def check_password(self, address: str, password: str) -> bool:
        function = self._functions.get("check_password")
        if function is None:
            return False
        with self._app.app_context():
            return bool(function(address, password))

    def logged_in(self, environ: Mapping[str, Any]) -> str | None:
        function = self._functions.get("logged_in")
        if function is None:
            return None
        with self._app.request_context(without_body(environ)):
            found = function()
        return one_users_name(found)


def _commands(agent: Agent) -> Command:
    from xhmtp_wsgi.commands.embedded import embedded_commands

    return embedded_commands(lambda: agent)


def _settings(app: Flask) -> Settings:
    given = app.config.get("XHMTP", app.config.get("XHMTP_CONFIG"))
    if given is None:
        raise SettingsError("XHMTP", "is not in app.config, nor is XHMTP_CONFIG")
    if not isinstance(given, Mapping):
        return Settings.load(Path(app.root_path) / given)
    with suppress(OSError):
        # Flask leaves it to the application to make it; where it cannot be, `check` says so.
        Path(app.instance_path).mkdir(parents=True, exist_ok=True)
    return Settings.load(given, directory=app.instance_path)
