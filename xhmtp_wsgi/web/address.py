"""Where pages lead: the prefix of their paths, and answers that lead to another page."""

from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import XHMTPError
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.responses import response
from xhmtp_wsgi.web.rendering import PAGE_HEADERS


def prefix_for(agent: Agent, request: Request, owner: Endpoint) -> str:
    """The prefix that links are to have; that of the request while the DNS tells none."""
    try:
        return agent.prefixes.of(owner.domain)
    except XHMTPError:
        return str(request.script_name).strip("/")


def led_to(path: str) -> Response:
    """An answer that leads to a path of ours (303). ``path``: built by routes.page_path."""
    return response(303, b"", "text/plain; charset=utf-8", {**PAGE_HEADERS, "Location": path})
