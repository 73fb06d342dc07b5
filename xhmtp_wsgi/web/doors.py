"""Logging in and out: the two pages that one need not be logged in for.

Security: where one is led after logging in is a path among his own pages, never an address.
"""

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias
from urllib.parse import parse_qs, quote, unquote

from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import MethodNotAllowed, NotAuthenticated, TooMany
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.routes import page_path
from xhmtp_wsgi.web import login, origin
from xhmtp_wsgi.web.address import led_to
from xhmtp_wsgi.web.form import read_form
from xhmtp_wsgi.web.notes import NOTES
from xhmtp_wsgi.web.rendering import rendered

Door: TypeAlias = Callable[[Agent, Request, Endpoint, str, str], Response]

MOST_LOGIN = 16 << 10  # octets of a form that anybody may send
MOST_WAY = 500  # characters


def way_back(path: tuple[str, ...]) -> str:
    """The query that leads from logging in to a page; empty where that is the inbox."""
    way = "/".join(quote(segment, safe="") for segment in path)
    if not segments(way) or way == "inbox":
        return ""
    return f"?to={quote(way, safe='')}"


def _logging_in(
    agent: Agent, request: Request, owner: Endpoint, prefix: str, method: str
) -> Response:
    """The form to log in by, and what takes it."""
    path = segments(_query(request, "to")) or ("inbox",)
    if method == "POST":
        return _log_in(agent, request, owner, prefix, path)
    already = login.known(agent, request, owner)
    if already is None:
        return _login_page(agent, request, owner, prefix, path)
    if already.account.endpoint == owner:
        return led_to(page_path(prefix, owner, *path))
    somebody_else = str(already.account.endpoint)
    return _login_page(agent, request, owner, prefix, path, somebody_else=somebody_else)


def _log_in(
    agent: Agent, request: Request, owner: Endpoint, prefix: str, path: tuple[str, ...]
) -> Response:
    origin.require_own_page(agent, request, owner)
    form = read_form(request, MOST_LOGIN)
    try:
        secret = login.log_in(agent, request, owner, form.text("password"))
    except NotAuthenticated:
        wrong = "That password is not right. Please try again."
        return _login_page(agent, request, owner, prefix, path, 401, wrong=wrong)
    except TooMany as error:
        wrong = "There were too many tries. Please wait a quarter of an hour."
        answer = _login_page(agent, request, owner, prefix, path, 429, wrong=wrong)
        answer.headers["Retry-After"] = str(math.ceil(error.retry_after or 60.0))
        return answer
    answer = led_to(page_path(prefix, owner, *path))
    login.set_cookie(answer, agent, request, owner, prefix, secret)
    return answer


def _logging_out(
    agent: Agent, request: Request, owner: Endpoint, prefix: str, method: str
) -> Response:
    """Ends the session; whoever has none is logged out as well."""
    if method == "GET":
        raise MethodNotAllowed(method, ("POST",))
    origin.require_own_page(agent, request, owner)
    form = read_form(request, MOST_LOGIN)
    try:
        who = login.visitor(agent, request, owner)
    except (NotAuthenticated, login.SomebodyElse):
        pass
    else:
        expected = origin.form_token(agent.database, owner, who.session)
        origin.require_token(expected, form.text(origin.TOKEN))
        login.end_session(agent, request)
    answer = led_to(page_path(prefix, owner, "login") + "?note=logged-out")
    login.set_cookie(answer, agent, request, owner, prefix, "")
    login.set_keeper_cookie(answer, agent, request, owner, prefix, "")
    return answer


DOORS: Mapping[tuple[str, ...], Door] = {("login",): _logging_in, ("logout",): _logging_out}
"""By path."""


def _login_page(
    agent: Agent,
    request: Request,
    owner: Endpoint,
    prefix: str,
    path: tuple[str, ...],
    status: int = 200,
    *,
    wrong: str = "",
    somebody_else: str = "",
) -> Response:
    values = {
        "owner": owner,
        "action": page_path(prefix, owner, "login") + way_back(path),
        "wrong": wrong,
        "note": "" if wrong else NOTES.get(_query(request, "note"), ""),
        "somebody_else": somebody_else,
    }
    return rendered(agent.settings, prefix, owner, "login.html", status, values)


def _query(request: Request, name: str) -> str:
    return str(parse_qs(request.query_string).get(name, [""])[0])


def segments(way: str) -> tuple[str, ...]:
    """The path that ``way_back`` told; empty for what leads anywhere else."""
    found = tuple(unquote(segment) for segment in way.split("/"))
    if len(way) > MOST_WAY or any(segment in ("", ".", "..") for segment in found):
        return ()
    return found
