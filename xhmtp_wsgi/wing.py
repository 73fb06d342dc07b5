"""A wing: a WSGI application that answers some of the resources below the prefix.

sender/ and recipient/ each are one, so that a site can take one without the other. It expects the
prefix in SCRIPT_NAME, as any WSGI dispatcher puts it there. A table tells the names of views, and
each is imported for the first request that it answers: an idle worker holds none of them.

Security: whatever goes wrong below the prefix ends here, as problem+json or as a plain 500, and
never reaches the site.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pkgutil import resolve_name
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

_ONE_IMPORTS = threading.Lock()
"""Of modules that need each other, threads that import them together may see half of one."""


class LateView:
    """A view by its name, ``package.module:function``; imported when it is first called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, agent: Agent, request: Request, route: Any) -> Response:
        return self.view(agent, request, route)

    @cached_property
    def view(self) -> View:
        """The view itself. Raises ImportError or AttributeError where there is none."""
        with _ONE_IMPORTS:
            found: View = resolve_name(self.name)
        return found


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
