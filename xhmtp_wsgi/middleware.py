"""XHMTP(site): is a request below a prefix of ours? To a view; else to the site, environ untouched.

Security: a request for the site is passed on as it came, body unread, and nothing of ours is asked
for it but whether its path starts with a prefix: no database, no DNS. Only where a domain's setting
``web_key_directory`` is on does one path more stand before the site, ``/.well-known/openpgpkey/``.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.message import EmailMessage
from typing import Any

from xhmtp_wsgi import rest, web
from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.arrival import Listener, unheard
from xhmtp_wsgi.errors import MalformedMessage
from xhmtp_wsgi.recipient import views as recipient_views
from xhmtp_wsgi.routes import MetricsRoute, SelfTestRoute
from xhmtp_wsgi.sender import views as sender_views
from xhmtp_wsgi.sender.web_key_directory import WebKeyDirectory
from xhmtp_wsgi.settings import Settings
from xhmtp_wsgi.site_users import SiteUsers
from xhmtp_wsgi.wing import Environ, LateView, StartResponse, Views, Wing

WSGIApplication = Callable[[Environ, StartResponse], Iterable[bytes]]
BOTH: Views = {
    **sender_views.VIEWS,
    **recipient_views.VIEWS,
    **rest.VIEWS,
    **web.VIEWS,
    MetricsRoute: {"GET": LateView("xhmtp_wsgi.metrics:metrics")},
    SelfTestRoute: dict.fromkeys(("GET", "POST"), LateView("xhmtp_wsgi.self_test:report")),
}


class XHMTP:
    """WSGI middleware that adds an XHMTP agent to a site."""

    def __init__(
        self,
        site: WSGIApplication,
        settings: Settings | Mapping[str, Any] | str | os.PathLike[str],
        *,
        agent: Agent | None = None,
        views: Views = BOTH,
        users: SiteUsers | None = None,
        on_arrival: Listener = unheard,
    ) -> None:
        """``settings``: a path to xhmtp.toml, a mapping of the same shape, or Settings.

        ``views``: those of one wing alone, for a host that only sends or only receives;
        ``users``: those of the site, with its log-in; ``on_arrival``: called with an Arrival for
        each notification, in the request that brings it. Raises SettingsError.
        """
        self.agent = agent or make_agent(
            Settings.load(settings, os.environ), users=users, on_arrival=on_arrival
        )
        self.key_directory = WebKeyDirectory(self.agent)
        self.site = self.key_directory.before(site)
        self.wing = Wing(self.agent, views)
        """What answers below the prefix: a WSGI application for what ``below_prefix`` gives."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        ours = self.below_prefix(environ)
        if ours is None:
            return self.site(environ, start_response)
        return self.wing(ours, start_response)

    def below_prefix(self, environ: Environ) -> Environ | None:
        """The environ of a request of ours, its prefix in SCRIPT_NAME; None for the site's."""
        path = environ.get("PATH_INFO", "")
        mount = environ.get("SCRIPT_NAME", "")
        # The prefix is the whole path as seen from outside. Below a mount that the outside
        # does not see, or that the settings leave out, it is the path within the mount.
        whole = mount + path
        prefix = self.agent.prefixes.match(whole)
        if prefix is not None and len(prefix) + 1 >= len(mount):
            below = whole[len(prefix) + 1 :]
        elif mount and (prefix := self.agent.prefixes.match(path)) is not None:
            below = path[len(prefix) + 1 :]
        else:
            return None
        ours = dict(environ)
        ours["SCRIPT_NAME"] = whole[: len(whole) - len(below)]
        ours["PATH_INFO"] = below
        return ours

    def submit(
        self,
        message: EmailMessage | bytes,
        *,
        sender: str | None = None,
        recipients: Sequence[str] | None = None,
    ) -> str:
        """Hands in a message as the function ``submit`` does, and returns its ID."""
        return submit(self.agent, message, sender=sender, recipients=recipients)


def submit(
    agent: Agent,
    message: EmailMessage | bytes,
    *,
    sender: str | None = None,
    recipients: Sequence[str] | None = None,
) -> str:
    """Hands in a message as injection does (protocol, section 4), and returns its ID.

    ``sender``: by default the address in From; ``recipients``: those of To, Cc and Bcc. Returns
    once the message is on disk; the notifier takes it from there. Raises MalformedMessage,
    Forbidden, Misdirected (not a domain of ours), ImpossibleRecipients, TooLarge, or a Transient
    error, after which nothing is stored.
    """
    # As late as the views (wing.py).
    from xhmtp_wsgi.protocol.message import author_of
    from xhmtp_wsgi.sender import injection

    octets = message if isinstance(message, bytes) else message.as_bytes()
    author = sender or author_of(octets)
    if author is None:
        raise MalformedMessage("the message has no From; name its sender")
    return injection.submit(agent, [octets], str(author), recipients).identifier
