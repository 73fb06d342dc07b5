"""The receiver: takes a notification for one of our endpoints (docs/protocol.md, sections 5 and 6).

RFC 5598's delivery step. Cheap checks come first; the DNS is asked last, and a message is never
fetched from here.
"""

import logging
from urllib.parse import quote

from webob import Request, Response

from xhmtp_wsgi import counters, search
from xhmtp_wsgi.addressing import Destination, Kind
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.arrival import Arrival
from xhmtp_wsgi.client_address import Address, client_address
from xhmtp_wsgi.errors import Forbidden, Misdirected, Moved, NotFound, Permanent, Transient
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.notification import Notification
from xhmtp_wsgi.rate_limits import Rate, network_of
from xhmtp_wsgi.recipient import group_policy, inbox
from xhmtp_wsgi.recipient.authorship import AGENT, SIGNATURE, check_agent, check_signature
from xhmtp_wsgi.recipient.filters import Action, Subject, decide, rules_for
from xhmtp_wsgi.recipient.forwarding import moved_to
from xhmtp_wsgi.recipient.origin import ORIGIN, check_origin
from xhmtp_wsgi.recipient.policy import Checks, require, run
from xhmtp_wsgi.recipient.verdict import NONE, PASS, Check
from xhmtp_wsgi.request_body import require_type, whole_body
from xhmtp_wsgi.responses import json_response
from xhmtp_wsgi.routes import InboxRoute

logger = logging.getLogger(__name__)


def notify(agent: Agent, request: Request, route: InboxRoute) -> Response:
    """``POST /PREFIX/bob@B``: 201 taken, 200 had it already; 202 where the domain does not tell.

    308 for an inbox that is another agent's now.
    """
    try:
        is_new = _take(agent, request, route.endpoint)
    except Moved:
        agent.counters.count("notifications:forwarded")
        raise
    except Permanent:
        agent.counters.count("notifications:refused")
        raise
    except Transient:
        agent.counters.count("notifications:put off")
        raise
    agent.counters.count(f"notifications:{'taken' if is_new else 'repeated'}")
    if agent.settings.domains[route.endpoint.domain].unknown_recipients == "hide":
        return json_response(202, {"status": "taken", "recipient": str(route.endpoint)})
    status = "taken" if is_new else "had it already"
    answer = {"status": status, "recipient": str(route.endpoint)}
    return json_response(201 if is_new else 200, answer)


def _take(agent: Agent, request: Request, recipient: Endpoint) -> bool:
    """Checks a notification and stores it; was it new?"""
    settings = agent.settings
    require_type(request, "application/x-www-form-urlencoded")
    body = whole_body(request, settings.max_notification_size, "the notification")
    source = client_address(request, settings.trusted_proxies)
    # Before anything that a flood could make us do: the database, the DNS, and signatures.
    rate = Rate(settings.notifications_per_second, settings.notification_burst)
    agent.rate_limits.take(f"source:{network_of(source)}", rate, "notifications")
    if not agent.accounts.acts_for(recipient.domain):
        raise Misdirected(f"this agent does not act for {recipient.domain}")
    notification = Notification.parse(
        body, recipient=recipient, header_limit=settings.max_notification_headers
    )
    domain = settings.domains[recipient.domain]
    destination = agent.addressing.resolve(recipient)
    if destination is None and domain.unknown_recipients == "tell":
        raise NotFound(f"{recipient.domain} has no such recipient")
    owner = recipient.canonical if destination is None else destination.endpoint.canonical
    checks = _checks(agent, request, body, notification, source)
    try:
        require(domain.verify, checks)
        action = _action(agent, recipient, owner, notification, checks)
        if not _is_admitted(agent, destination, notification, checks):
            action = Action.DISCARD
    except Permanent as error:
        logger.info("refused a notification for %s: %s", recipient, error)
        raise
    if notification.author is not None and checks.passed(AGENT):
        # Only what a domain has sent itself counts as its own.
        name = f"domain:{notification.author.domain}"
        agent.rate_limits.take(name, rate, "notifications from that domain")
    if destination is None or action is Action.DISCARD:
        _work_as_if(agent, owner, notification)
        return True
    if destination.kind is Kind.ELSEWHERE:
        raise moved_to(agent.discovery, destination.endpoint)
    identifier = inbox.take(
        agent.database,
        owner,
        notification,
        source=str(source),
        checks=checks.done,
        now=agent.clock(),
        quarantined=action is Action.QUARANTINE,
        most=settings.max_inbox,
    )
    if identifier is not None and destination.kind is Kind.MAILBOX:
        quarantined = action is Action.QUARANTINE
        _tell_site(agent, _arrival(owner, notification, checks, identifier, quarantined))
    return identifier is not None


def _is_admitted(
    agent: Agent, destination: Destination | None, notification: Notification, checks: Checks
) -> bool:
    """Does a group take it? Raises Forbidden, unless its domain hides which names it has."""
    if destination is None or destination.kind is not Kind.GROUP:
        return True
    try:
        return group_policy.admit(agent.database, destination, notification, checks)
    except Forbidden:
        if agent.settings.domains[destination.endpoint.domain].unknown_recipients == "hide":
            return False
        raise


def _arrival(
    recipient: Endpoint,
    notification: Notification,
    checks: Checks,
    identifier: str,
    quarantined: bool,
) -> Arrival:
    return Arrival(
        recipient=str(recipient.canonical),
        sender=None if notification.author is None else str(notification.author),
        subject=display(notification.values.get("subject", "")),
        identifier=identifier,
        url=notification.url.with_credentials(),
        quarantined=quarantined,
        passed=frozenset(check.name for check in checks.done if check.result == PASS),
    )


def _tell_site(agent: Agent, arrival: Arrival) -> None:
    """What the site does with it is the site's: it fails alone, and the notification is taken."""
    try:
        agent.on_arrival(arrival)
    except Exception:
        logger.exception("the site's own code failed for the arrival %s", arrival.identifier)


def _action(
    agent: Agent,
    recipient: Endpoint,
    owner: Endpoint,
    notification: Notification,
    checks: Checks,
) -> Action:
    """What the filters of the recipient and of his domain say. Raises Forbidden."""
    came_from_there = checks.passed(ORIGIN) or checks.passed(SIGNATURE)
    subject = Subject(
        author=notification.author,
        signed=checks.passed(SIGNATURE),
        vouched=checks.passed(AGENT) and came_from_there,
        headers=notification.values,
    )
    action, _ = decide(rules_for(agent.database, recipient, owner), subject)
    if action is Action.REFUSE:
        raise Forbidden("the recipient does not take this")
    return action


def _work_as_if(agent: Agent, owner: Endpoint, notification: Notification) -> None:
    """Writes something, so that an answer that keeps nothing takes as long as one that does."""
    with agent.database.transaction() as connection:
        counters.add(connection, {"notifications:not kept": 1})
        search.put(connection, owner, "not kept", "", inbox.searchable(notification.values))
        search.remove(connection, owner, "not kept", "")


def _checks(
    agent: Agent,
    request: Request,
    body: bytes,
    notification: Notification,
    source: Address | None,
) -> Checks:
    url, discovery = notification.url, agent.discovery
    author = notification.author
    domain = None if author is None else author.domain
    is_signed = "HTTP_SIGNATURE_INPUT" in request.environ
    first = run({ORIGIN: lambda: check_origin(url, source, discovery)})
    if not first.passed(ORIGIN) and not first.unknown and not is_signed:
        # Nothing can let it in any more: a forger's names are not looked up for him.
        return first.and_also(
            {
                AGENT: lambda: Check(AGENT, NONE, "not looked at"),
                SIGNATURE: lambda: Check(SIGNATURE, NONE, "the notification is not signed"),
            }
        )
    headers = {name.lower(): value for name, value in request.headers.items()} if is_signed else {}
    return first.and_also(
        {
            AGENT: lambda: check_agent(url, domain, discovery),
            SIGNATURE: lambda: check_signature(
                headers,
                body,
                target=_target(request),
                domain=domain,
                discovery=discovery,
                now=agent.clock(),
            ),
        }
    )


def _target(request: Request) -> str:
    """The request's URL, for signatures that cover it; the host is what the client says.

    What it says is then signed, and nothing else is made of it.
    """
    whole = request.environ["SCRIPT_NAME"] + request.environ["PATH_INFO"]
    path = quote(whole.encode("latin-1"), safe="/~!$&'()*+,;=:")
    host = request.environ.get("HTTP_HOST", "localhost")
    return f"{request.environ['wsgi.url_scheme']}://{host}{path}"
