"""XHMTP(site): is a request below a prefix of ours? To a view; else to the site, environ untouched.

Security: a request for the site is passed on as it came, body unread, and nothing of ours is asked
for it but whether its path starts with a prefix: no database, no DNS.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.message import EmailMessage
from typing import Any

from xhmtp_wsgi import metrics, recipient, sender
from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.settings import Settings
from xhmtp_wsgi.wing import Environ, StartResponse, Views, Wing

WSGIApplication = Callable[[Environ, StartResponse], Iterable[bytes]]
BOTH: Views = {**sender.VIEWS, **recipient.VIEWS, **metrics.VIEWS}


class XHMTP:
    """WSGI middleware that adds an XHMTP agent to a site."""

    def __init__(
        self,
        site: WSGIApplication,
        settings: Settings | Mapping[str, Any] | str | os.PathLike[str],
        *,
        agent: Agent | None = None,
        views: Views = BOTH,
    ) -> None:
        """``settings``: a path to xhmtp.toml, a mapping of the same shape, or Settings.

        ``views``: those of one wing alone, for a host that only sends or only receives.
        Raises SettingsError.
        """
        self.site = site
        self.agent = agent or make_agent(Settings.load(settings, os.environ))
        self._wing = Wing(self.agent, views)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
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
            return self.site(environ, start_response)
        ours = dict(environ)
        ours["SCRIPT_NAME"] = whole[: len(whole) - len(below)]
        ours["PATH_INFO"] = below
        return self._wing(ours, start_response)

    def submit(
        self, message: EmailMessage | bytes, *, sender: str, recipients: Sequence[str] | None = None
    ) -> str:
        """Hands in a message as injection does (protocol, section 4), and returns its ID.

        ``recipients``: by default those of To, Cc and Bcc. Returns once the message is on disk;
        the notifier takes it from there. Raises MalformedMessage, Forbidden, ImpossibleRecipients,
        TooLarge, or a Transient error, after which nothing is stored.
        """
        from xhmtp_wsgi.sender.injection import submit

        octets = message if isinstance(message, bytes) else message.as_bytes()
        return submit(self.agent, [octets], sender, recipients).identifier
