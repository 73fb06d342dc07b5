"""A wing: a WSGI application that answers some of the resources below the prefix.

sender/ and recipient/ each are one, so that a site can take one without the other. It expects the
prefix in SCRIPT_NAME, as any WSGI dispatcher puts it there.

Security: whatever goes wrong below the prefix ends here, as problem+json or as a plain 500, and
never reaches the site.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import MalformedRequest, MethodNotAllowed, NotFound, XHMTPError
from xhmtp_wsgi.responses import internal_problem, problem
from xhmtp_wsgi.routes import Route, parse_route

logger = logging.getLogger(__name__)

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
View: TypeAlias = Callable[[Agent, Request, Any], Response]
Views: TypeAlias = Mapping[type[Route], Mapping[str, View]]


class Wing:
    """The resources that one or both halves of an agent answer."""

    def __init__(self, agent: Agent, views: Views) -> None:
        """``views``: by kind of route, then by method; HEAD is answered where GET is."""
        self._agent = agent
        self._views = views

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI (PEP 3333)."""
        answer = self._answer(environ)
        if answer.conditional_response:
            result: Iterable[bytes] = answer(environ, start_response)
            return result
        # WebOb would make Location absolute by the Host that the client names.
        start_response(answer.status, answer.headerlist)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else answer.app_iter

    def _answer(self, environ: Environ) -> Response:
        try:
            route = parse_route(environ.get("PATH_INFO", ""))
            view = self._view(route, environ["REQUEST_METHOD"])
            _check_query(environ.get("QUERY_STRING", ""))
            return view(self._agent, Request(environ), route)
        except XHMTPError as error:
            return problem(error)
        except Exception:
            # The last resort, so that a fault of ours is never the site's: it is logged whole.
            logger.exception("a request below the prefix failed")
            return internal_problem()

    def _view(self, route: Route, method: str) -> View:
        methods = self._views.get(type(route))
        if methods is None:
            raise NotFound("there is no such resource")
        view = methods.get("GET" if method == "HEAD" else method)
        if view is None:
            allowed = {*methods, *(("HEAD",) if "GET" in methods else ())}
            raise MethodNotAllowed(method[:20], tuple(sorted(allowed)))
        return view


def _check_query(query: str) -> None:
    """WebOb raises errors of its own, and late, for a query that is not UTF-8."""
    try:
        unquote_to_bytes(query).decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedRequest("the query is not UTF-8") from None
