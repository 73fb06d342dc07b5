"""The receiver: takes a notification for one of our endpoints (docs/protocol.md, sections 5 and 6).

RFC 5598's delivery step. Cheap checks come first; the DNS is asked last, and a message is never
fetched from here.
"""

import logging

from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.client_address import client_address
from xhmtp_wsgi.errors import Forbidden, Misdirected, NotFound, Permanent, Transient
from xhmtp_wsgi.protocol.notification import Notification
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.recipient.origin import check_origin
from xhmtp_wsgi.recipient.verdict import FAIL
from xhmtp_wsgi.request_body import require_type, whole_body
from xhmtp_wsgi.responses import json_response
from xhmtp_wsgi.routes import InboxRoute

logger = logging.getLogger(__name__)


def notify(agent: Agent, request: Request, route: InboxRoute) -> Response:
    """``POST /PREFIX/bob@B``: 201 taken, 200 had it already."""
    try:
        is_new = _take(agent, request, route)
    except Permanent:
        agent.counters.count("notifications:refused")
        raise
    except Transient:
        agent.counters.count("notifications:put off")
        raise
    agent.counters.count(f"notifications:{'taken' if is_new else 'repeated'}")
    status = "taken" if is_new else "had it already"
    answer = {"status": status, "recipient": str(route.endpoint)}
    return json_response(201 if is_new else 200, answer)


def _take(agent: Agent, request: Request, route: InboxRoute) -> bool:
    """Checks a notification and stores it; was it new?"""
    recipient = route.endpoint
    require_type(request, "application/x-www-form-urlencoded")
    body = whole_body(request, agent.settings.max_notification_size, "the notification")
    if not agent.accounts.acts_for(recipient.domain):
        raise Misdirected(f"this agent does not act for {recipient.domain}")
    notification = Notification.parse(body, recipient=recipient)
    if agent.accounts.find(recipient) is None:
        raise NotFound(f"{recipient.domain} has no such recipient")
    source = client_address(request, agent.settings.trusted_proxies)
    origin = check_origin(notification.url, source, agent.discovery)
    if origin.result == FAIL:
        logger.info("refused a notification for %s: %s", recipient, origin.reason)
        raise Forbidden(f"the origin check failed: {origin.reason}")
    return inbox.take(
        agent.database,
        recipient,
        notification,
        source=str(source),
        checks=[origin],
        now=agent.clock(),
    )
