"""From a path to a handler: who asks, whose page it is, whether a form is ours; errors end here."""

import logging
from collections.abc import Mapping
from dataclasses import replace

from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import (
    MethodNotAllowed,
    Misdirected,
    NotAuthenticated,
    NotFound,
    XHMTPError,
)
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.routes import PageRoute, page_path
from xhmtp_wsgi.secret_box import Locked
from xhmtp_wsgi.web import (
    compose,
    doors,
    finding,
    folders,
    login,
    message,
    origin,
    own_settings,
    quarantine,
    sent,
    unlocking,
)
from xhmtp_wsgi.web.address import led_to, prefix_for
from xhmtp_wsgi.web.failure import failure, internal_failure, wants_html
from xhmtp_wsgi.web.form import read_form
from xhmtp_wsgi.web.page import Handler, Page
from xhmtp_wsgi.web.visit import Visit

logger = logging.getLogger(__name__)

PAGES: Mapping[str, Page] = {
    **folders.PAGES,
    **finding.PAGES,
    **message.PAGES,
    **compose.PAGES,
    **sent.PAGES,
    **quarantine.PAGES,
    **own_settings.PAGES,
    **unlocking.PAGES,
}
"""The pages, by the first segment of their path."""


def get(agent: Agent, request: Request, route: PageRoute) -> Response:
    """``GET /PREFIX/bob@B/...``."""
    return _answer(agent, request, route, "GET")


def post(agent: Agent, request: Request, route: PageRoute) -> Response:
    """``POST /PREFIX/bob@B/...``: 403 unless the form is sent by a page of ours."""
    return _answer(agent, request, route, "POST")


def _answer(agent: Agent, request: Request, route: PageRoute, method: str) -> Response:
    prefix, owner = str(request.script_name).strip("/"), route.endpoint.canonical
    try:
        if not agent.accounts.acts_for(owner.domain):
            raise Misdirected(f"this agent does not act for {owner.domain}")
        prefix = prefix_for(agent, request, owner)
        door = doors.DOORS.get(route.path)
        if door is not None:
            return door(agent, request, owner, prefix, method)
        try:
            visit = _visit(agent, request, owner, prefix, route.path)
        except NotAuthenticated:
            if method == "POST" or not wants_html(request):
                raise
            return led_to(page_path(prefix, owner, "login") + doors.way_back(route.path))
        return _of_page(visit, method)
    except XHMTPError as error:
        return failure(agent, request, prefix, error, owner)
    except Exception:
        # The last resort, as in wing.py, which would answer in JSON.
        logger.exception("a page failed")
        return internal_failure(agent, request, prefix, owner)


def _visit(
    agent: Agent, request: Request, owner: Endpoint, prefix: str, path: tuple[str, ...]
) -> Visit:
    who = login.visitor(agent, request, owner)
    return Visit(
        agent=agent,
        request=request,
        owner=owner,
        account=who.account,
        means=who.means,
        token=origin.form_token(agent.database, owner, who.session),
        path=path,
        prefix=prefix,
        keeper=who.session or login.keeper(request),
    )


def _of_page(visit: Visit, method: str) -> Response:
    if visit.path == ("",):
        return visit.redirect("inbox")
    page = PAGES.get(visit.path[0])
    if page is None or any("\0" in segment for segment in visit.path):
        raise NotFound("there is no such page")
    handler = page.get if method == "GET" else page.post
    if handler is None:
        allowed = ("GET", "HEAD") if page.get is not None else ("POST",)
        raise MethodNotAllowed(method, allowed)
    if method == "GET":
        return _shown(visit, handler)
    origin.require_own_page(visit.agent, visit.request, visit.owner)
    form = read_form(visit.request, page.most)
    origin.require_token(visit.token, form.text(origin.TOKEN))
    return handler(replace(visit, sent=form))


def _shown(visit: Visit, handler: Handler) -> Response:
    """What a page shows; where it is sealed and locked, the page that unlocks comes first."""
    try:
        return handler(visit)
    except Locked:
        if not wants_html(visit.request):
            raise
        return led_to(visit.url(unlocking.UNLOCK) + doors.way_back(visit.path))
