"""Admission: is a notification to be taken, and what becomes of it? (docs/protocol.md, sections 6
and 7)

The checks, then the rules of the recipient and of his domain, then those of a group. What comes in
one request comes from one agent and for authors of one domain; so each check is made once for it.

Security: nothing is fetched, and the DNS is asked last, for nothing that a forger could choose
freely.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from webob import Request

from xhmtp_wsgi.addressing import Destination, Kind
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.client_address import Address
from xhmtp_wsgi.errors import Forbidden, NotFound, Permanent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.notification import Notification
from xhmtp_wsgi.rate_limits import Rate
from xhmtp_wsgi.recipient import group_policy
from xhmtp_wsgi.recipient.authorship import AGENT, SIGNATURE, check_agent, check_signature
from xhmtp_wsgi.recipient.filters import Action, Rule, Subject, decide
from xhmtp_wsgi.recipient.origin import ORIGIN, check_origin
from xhmtp_wsgi.recipient.policy import Checks, require, run
from xhmtp_wsgi.recipient.verdict import NONE, Check

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A notification that is not refused. ``destination``: None where there is no such recipient.

    ``is_kept``: is it to be put into an inbox, or told where that is?
    """

    owner: Endpoint
    destination: Destination | None
    notification: Notification
    checks: Checks
    action: Action

    @property
    def is_kept(self) -> bool:
        """Is it to be put into an inbox, or its sender told where that is now?"""
        return self.destination is not None and self.action is not Action.DISCARD

    @property
    def is_quarantined(self) -> bool:
        """Is it kept, and out of the feed?"""
        return self.action is Action.QUARANTINE


class Admission:
    """Decides on the notifications of one request; ``source``: the address that it came from."""

    def __init__(self, agent: Agent, request: Request, body: bytes, source: Address | None) -> None:
        self._agent = agent
        self._request = request
        self._body = body
        self._source = source
        self._done: dict[tuple[object, ...], Checks] = {}

    def admit(
        self,
        recipient: Endpoint,
        destination: Destination | None,
        rules: Sequence[Rule],
        notification: Notification,
    ) -> Admitted:
        """What becomes of it. Raises NotFound, Forbidden, SignatureInvalid, TooMany, or
        DNSUnavailable where it cannot be known just now.
        """
        domain = self._agent.settings.domains[recipient.domain]
        if destination is None and domain.unknown_recipients == "tell":
            raise NotFound(f"{recipient.domain} has no such recipient")
        owner = owner_of(recipient, destination)
        checks = self._checks(notification)
        try:
            require(domain.verify, checks)
            action = _action(rules, notification, checks)
            if not self._is_for_group(destination, notification, checks):
                action = Action.DISCARD
        except Permanent as error:
            logger.info("refused a notification for %s: %s", recipient, error)
            raise
        self._count_domain(notification, checks)
        return Admitted(owner, destination, notification, checks, action)

    def _count_domain(self, notification: Notification, checks: Checks) -> None:
        """Only what a domain has sent itself counts as its own. Raises TooMany."""
        if notification.author is not None and checks.passed(AGENT):
            settings = self._agent.settings
            rate = Rate(settings.notifications_per_second, settings.notification_burst)
            name = f"domain:{notification.author.domain}"
            self._agent.rate_limits.take(name, rate, "notifications from that domain")

    def _is_for_group(
        self, destination: Destination | None, notification: Notification, checks: Checks
    ) -> bool:
        """Does a group take it? Raises Forbidden, unless its domain hides which names it has."""
        if destination is None or destination.kind is not Kind.GROUP:
            return True
        try:
            return group_policy.admit(self._agent.database, destination, notification, checks)
        except Forbidden:
            domain = self._agent.settings.domains[destination.endpoint.domain]
            if domain.unknown_recipients == "hide":
                return False
            raise

    def _checks(self, notification: Notification) -> Checks:
        url, author = notification.url, notification.author
        # All that the checks look at, but for the message's own name at the end of the path.
        key = (
            url.scheme, url.host, url.port, url.path.rpartition("/")[0], author and author.domain,
        )  # fmt: skip
        if key not in self._done:
            self._done[key] = self._checked(notification)
        return self._done[key]

    def _checked(self, notification: Notification) -> Checks:
        url, discovery = notification.url, self._agent.discovery
        domain = None if notification.author is None else notification.author.domain
        is_signed = "HTTP_SIGNATURE_INPUT" in self._request.environ
        first = run({ORIGIN: lambda: check_origin(url, self._source, discovery)})
        if not first.passed(ORIGIN) and not first.unknown and not is_signed:
            # Nothing can let it in any more: a forger's names are not looked up for him.
            return first.and_also(
                {
                    AGENT: lambda: Check(AGENT, NONE, "not looked at"),
                    SIGNATURE: lambda: Check(SIGNATURE, NONE, "the notification is not signed"),
                }
            )
        headers = self._request.headers.items() if is_signed else ()
        return first.and_also(
            {
                AGENT: lambda: check_agent(url, domain, discovery),
                SIGNATURE: lambda: check_signature(
                    {name.lower(): value for name, value in headers},
                    self._body,
                    target=_target(self._request),
                    domain=domain,
                    discovery=discovery,
                    now=self._agent.clock(),
                ),
            }
        )


def owner_of(recipient: Endpoint, destination: Destination | None) -> Endpoint:
    """Whose inbox it is: to whom the address leads, if it leads anywhere."""
    return (recipient if destination is None else destination.endpoint).canonical


def _action(rules: Sequence[Rule], notification: Notification, checks: Checks) -> Action:
    """What the filters of the recipient and of his domain say. Raises Forbidden."""
    came_from_there = checks.passed(ORIGIN) or checks.passed(SIGNATURE)
    subject = Subject(
        author=notification.author,
        signed=checks.passed(SIGNATURE),
        vouched=checks.passed(AGENT) and came_from_there,
        headers=notification.values,
    )
    action, _ = decide(rules, subject)
    if action is Action.REFUSE:
        raise Forbidden("the recipient does not take this")
    return action


def _target(request: Request) -> str:
    """The request's URL, for signatures that cover it; the host is what the client says.

    What it says is then signed, and nothing else is made of it.
    """
    whole = request.environ["SCRIPT_NAME"] + request.environ["PATH_INFO"]
    path = quote(whole.encode("latin-1"), safe="/~!$&'()*+,;=:")
    host = request.environ.get("HTTP_HOST", "localhost")
    return f"{request.environ['wsgi.url_scheme']}://{host}{path}"
