"""``GET /PREFIX/assets/NAME``: what pages are made with, kept by browsers for a year."""

from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import NotFound
from xhmtp_wsgi.responses import response
from xhmtp_wsgi.routes import AssetRoute
from xhmtp_wsgi.web.asset_files import find_asset


def asset(agent: Agent, request: Request, route: AssetRoute) -> Response:
    """The asset of that name; whoever has an older page loads that anew."""
    found = find_asset(agent.settings, route.name)
    if found is None:
        raise NotFound("there is no such resource")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    return response(200, found.octets, found.kind, headers)
