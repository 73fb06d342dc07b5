"""Errors below a page's path: a plain, kind page for a browser, problem+json for a program."""

from dataclasses import dataclass

from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import DatabaseUnavailable, Misdirected, NotAuthenticated, XHMTPError
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.responses import internal_problem, problem
from xhmtp_wsgi.routes import page_path
from xhmtp_wsgi.web.login import SomebodyElse
from xhmtp_wsgi.web.rendering import rendered

_KIND: dict[int, tuple[str, str]] = {
    400: ("That cannot be done so", "Something in what was sent is not as it must be."),
    401: ("Please log in", "This page is for its owner alone."),
    403: ("That is not allowed", "Nothing was changed."),
    404: ("There is no such page", "It may have been deleted or moved, or the address is wrong."),
    405: ("That cannot be done here", "Nothing was changed."),
    410: ("It is gone", "It was here, and has been withdrawn or has expired."),
    413: ("That is too large", "Nothing was changed."),
    421: ("That is not one of our addresses", "The address belongs to another site."),
    422: ("It cannot be sent to everybody", "Nothing was sent."),
    429: ("Too many tries", "Please wait a little, and then try again."),
    500: ("Something went wrong on our side", "It has been noted. Please try again later."),
    503: ("Not just now", "Something that is needed does not answer. Please try again shortly."),
    507: ("There is no room left", "Delete something, or ask whoever runs the site for more."),
}


@dataclass(frozen=True, slots=True)
class Way:
    """A link."""

    name: str
    url: str


FEEDS = ("application/rss+xml", "application/feed+json", "application/json")


def wants_html(request: Request) -> bool:
    """Is it a browser, which asks for text/html before anything else?"""
    offered = [*FEEDS, "text/html"]
    best = request.accept.acceptable_offers(offered)
    return bool(best) and best[0][0] == "text/html" and "text/html" in str(request.accept)


def failure(
    agent: Agent, request: Request, prefix: str, error: XHMTPError, owner: Endpoint
) -> Response:
    """The answer to a request for a page of ``owner`` that failed."""
    answer = problem(error)
    if not wants_html(request):
        return answer
    # Where it is our own doing that the detail tells of, it tells the visitor nothing.
    detail = "" if isinstance(error, DatabaseUnavailable) else str(error)
    ways = _ways(prefix, error, owner)
    page = _page(agent, prefix, owner, answer.status_int, detail, ways)
    for name in ("Allow", "Retry-After"):
        if name in answer.headers:
            page.headers[name] = answer.headers[name]
    return page


def internal_failure(agent: Agent, request: Request, prefix: str, owner: Endpoint) -> Response:
    """The answer where our own code failed: it tells nothing, the log has it."""
    if not wants_html(request):
        return internal_problem()
    return _page(agent, prefix, owner, 500, "", [])


def _ways(prefix: str, error: XHMTPError, owner: Endpoint) -> list[Way]:
    """Where the visitor may want to go from here."""
    if isinstance(error, Misdirected):
        return []
    log_in = Way(f"Log in as {owner}", page_path(prefix, owner, "login"))
    if isinstance(error, SomebodyElse):
        own = error.visitor.account.endpoint
        return [Way(f"To the inbox of {own}", page_path(prefix, own, "inbox")), log_in]
    if isinstance(error, NotAuthenticated):
        return [log_in]
    return [Way("To the inbox", page_path(prefix, owner, "inbox"))]


def _page(
    agent: Agent, prefix: str, owner: Endpoint, status: int, detail: str, ways: list[Way]
) -> Response:
    title, text = _KIND.get(status, _KIND[400])
    if detail.casefold() == title.casefold():
        detail = ""
    values = {"title": title, "text": text, "detail": detail, "ways": ways}
    return rendered(agent.settings, prefix, owner, "error.html", status, values)
