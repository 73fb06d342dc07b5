"""Who visits? By a session of ours, by the site's own log-in, or by Basic credentials.

Security: a session's cookie is HttpOnly, SameSite and below the prefix; logging in always makes a
new one, so that nobody can be led into a session that another knows. Feed tokens open no page.
"""

from dataclasses import dataclass, field

from webob import Request, Response

from xhmtp_wsgi.accounts import Account
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Forbidden, NotAuthenticated, XHMTPError
from xhmtp_wsgi.login_guard import guarded
from xhmtp_wsgi.protocol.basic_authentication import parse_authorization
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.sessions import GOOD_FOR, Sessions
from xhmtp_wsgi.web.visit import Means

COOKIE = "xhmtp_session"
KEEPER_COOKIE = "xhmtp_unlocked"
"""Of a session that logs nobody in, and keeps the keys of whom the site logs in."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is logged in; ``session``: the secret of his session, where that is how."""

    account: Account
    means: Means
    session: str | None = field(default=None, repr=False)


class SomebodyElse(Forbidden):
    """Logged in, and not as the one whose page this is."""

    def __init__(self, visitor: Visitor, owner: Endpoint) -> None:
        super().__init__(f"you are logged in as {visitor.account.endpoint}, not as {owner}")
        self.visitor = visitor


def sessions_of(agent: Agent) -> Sessions:
    """The sessions of an agent's pages."""
    return Sessions(agent.database, agent.clock)


def visitor(agent: Agent, request: Request, owner: Endpoint) -> Visitor:
    """The visitor, who is the owner of the page.

    Raises NotAuthenticated where nobody is logged in, SomebodyElse where another is, or TooMany
    after too many guesses. A form is not looked at here: see origin.py.
    """
    already = known(agent, request, owner)
    if already is not None and already.account.endpoint == owner.canonical:
        return already
    by_password = _by_password(agent, request, owner)
    if by_password is not None:
        return by_password
    if already is not None:
        raise SomebodyElse(already, owner)
    raise NotAuthenticated("log in to see this page")


def known(agent: Agent, request: Request, owner: Endpoint) -> Visitor | None:
    """Who is logged in by a session or by the site: the owner of the page if it may be he."""
    found = [
        one for one in (_by_session(agent, request), _by_site(agent, request)) if one is not None
    ]
    his = (one for one in found if one.account.endpoint == owner.canonical)
    return next(his, found[0] if found else None)


def log_in(agent: Agent, request: Request, owner: Endpoint, password: str) -> str:
    """Begins a session and returns its secret; the one that the browser had ends.

    Raises NotAuthenticated or TooMany.
    """
    account = guarded(
        agent, request, str(owner), lambda: agent.accounts.authenticate(owner, password)
    )
    end_session(agent, request)
    return sessions_of(agent).begin(account)


def end_session(agent: Agent, request: Request) -> None:
    """Ends the session that the browser has, if it has any."""
    for secret in (_cookie(request), keeper(request)):
        if secret is not None:
            sessions_of(agent).end(secret)


def keeper(request: Request) -> str | None:
    """The secret of the session that the browser has for keys alone; it logs nobody in."""
    return _cookie(request, KEEPER_COOKIE)


def set_cookie(
    answer: Response, agent: Agent, request: Request, owner: Endpoint, prefix: str, secret: str
) -> None:
    """Has the browser keep a session's secret, or with an empty one forget it."""
    _set_cookie(answer, agent, request, owner, prefix, COOKIE, secret, int(GOOD_FOR))


def set_keeper_cookie(
    answer: Response, agent: Agent, request: Request, owner: Endpoint, prefix: str, secret: str
) -> None:
    """The same for the session that ``keeper`` tells, until the browser is closed."""
    _set_cookie(answer, agent, request, owner, prefix, KEEPER_COOKIE, secret, None)


def _set_cookie(
    answer: Response,
    agent: Agent,
    request: Request,
    owner: Endpoint,
    prefix: str,
    name: str,
    secret: str,
    good_for: int | None,
) -> None:
    answer.set_cookie(
        name,
        secret,
        max_age=good_for if secret else 0,
        path=f"/{prefix}/",
        secure=_over_tls(agent, request, owner),
        httponly=True,
        samesite="Lax",
    )


def _over_tls(agent: Agent, request: Request, owner: Endpoint) -> bool:
    """As the settings or the DNS tell: behind a proxy the request itself does not say."""
    try:
        return agent.url_of(owner.domain).scheme == "https"
    except XHMTPError:
        return bool(request.scheme == "https")


def _by_session(agent: Agent, request: Request) -> Visitor | None:
    secret = _cookie(request)
    account = None if secret is None else sessions_of(agent).account(secret)
    if account is None or agent.accounts.find(account.endpoint) is None:
        return None
    return Visitor(account, Means.SESSION, secret)


def _by_site(agent: Agent, request: Request) -> Visitor | None:
    # Not by login_guard's function, which holds a change to be another site's by the Host that the
    # client names; origin.py looks at every form that is sent to a page.
    account = agent.accounts.logged_in(request.environ)
    return None if account is None else Visitor(account, Means.SITE)


def _by_password(agent: Agent, request: Request, owner: Endpoint) -> Visitor | None:
    given = parse_authorization(request.environ.get("HTTP_AUTHORIZATION"))
    if given is None or given.user not in {str(owner), str(owner.canonical), owner.local}:
        return None
    account = guarded(
        agent, request, str(owner), lambda: agent.accounts.authenticate(owner, given.password)
    )
    return Visitor(account, Means.BASIC)


def _cookie(request: Request, name: str = COOKIE) -> str | None:
    secret = request.cookies.get(name)
    return secret if secret and len(secret) <= 100 else None
