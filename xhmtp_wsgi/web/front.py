"""``GET /PREFIX/bob@B``: the feed, or for a browser the way to bob's pages.

An address with a feed token in it is the feed's, whoever asks.
"""

from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.recipient.feed import feed
from xhmtp_wsgi.routes import InboxRoute, page_path
from xhmtp_wsgi.web.address import led_to, prefix_for
from xhmtp_wsgi.web.failure import wants_html


def feed_or_pages(agent: Agent, request: Request, route: InboxRoute) -> Response:
    """Readers get the feed; a browser is led to the inbox, which has it log in."""
    if not wants_html(request) or "token" in request.GET:
        return feed(agent, request, route)
    owner = route.endpoint.canonical
    return led_to(page_path(prefix_for(agent, request, owner), owner, "inbox"))
