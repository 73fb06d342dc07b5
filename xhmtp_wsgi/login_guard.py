"""Guessing at passwords: failed log-ins are counted by address and account, and logged.

An address that failed too often, in all or for one account, is refused for a while without a look
at the password. An account that many addresses fail for is refused to those that have failed for it
once, and not to its owner, who comes from elsewhere.
"""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection
from webob import Request

from xhmtp_wsgi.accounts import Account
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.client_address import client_address
from xhmtp_wsgi.errors import Forbidden, Misdirected, NotAuthenticated
from xhmtp_wsgi.protocol.basic_authentication import parse_authorization
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.rate_limits import Rate, network_of, require_token

logger = logging.getLogger("xhmtp_wsgi.security")

WINDOW = 900.0  # seconds
FOR_AN_ADDRESS, FOR_AN_ACCOUNT = 5, 20  # times what a pair of both may have
WHAT = "failed log-ins"

Found = TypeVar("Found")
Read = TypeVar("Read")

SAFE_METHODS = ("GET", "HEAD")


def logged_in_by_site(agent: Agent, request: Request) -> Account | None:
    """The account of whom the site has logged in; None if nobody, and Basic is to be looked at.

    Raises Forbidden for a change that a browser asks for on another site's behalf: what a cookie
    allows, a stranger's page could ask for as well.
    """
    account = agent.accounts.logged_in(request.environ)
    if account is not None and request.method not in SAFE_METHODS and is_cross_site(request):
        raise Forbidden("another site's page may not ask for this")
    return account


def is_cross_site(request: Request) -> bool:
    """Does a browser ask for another site's page?

    It says so in Sec-Fetch-Site; or, to a host without TLS and in older ones, only in Origin.
    """
    asked_by = request.environ.get("HTTP_SEC_FETCH_SITE")
    if asked_by is not None:
        return asked_by not in ("none", "same-origin")
    origin = request.environ.get("HTTP_ORIGIN")
    # A page elsewhere can set neither of these.
    own = {request.environ.get(name) for name in ("HTTP_HOST", "HTTP_X_FORWARDED_HOST")}
    return origin is not None and origin.partition("://")[2] not in own


def owner_logged_in(
    agent: Agent, request: Request, endpoint: Endpoint, *, to_read_feed: bool = False
) -> Account:
    """The account of the endpoint whose resources are asked for: by the site's log-in, or Basic.

    ``to_read_feed``: a feed token does as well, as Basic password or as ``?token=``; else it is no
    password. Raises Misdirected, NotAuthenticated, TooMany, or Forbidden as ``logged_in_by_site``
    does.
    """
    accounts = agent.accounts
    if not accounts.acts_for(endpoint.domain):
        raise Misdirected(f"this agent does not act for {endpoint.domain}")
    if to_read_feed and (token := request.GET.get("token")) is not None:
        return guarded(
            agent, request, str(endpoint), lambda: accounts.authenticate_token(endpoint, token)
        )
    account = logged_in_by_site(agent, request)
    if account is not None and account.endpoint == endpoint.canonical:
        return account
    credentials = parse_authorization(request.environ.get("HTTP_AUTHORIZATION"))
    if credentials is None:
        or_token = " or a feed token" if to_read_feed else ""
        raise NotAuthenticated(f"this needs its owner's password{or_token}")
    if credentials.user not in {str(endpoint), str(endpoint.canonical), endpoint.local}:
        raise NotAuthenticated("this is somebody else's")
    check = accounts.authenticate_reader if to_read_feed else accounts.authenticate
    return guarded(agent, request, str(endpoint), lambda: check(endpoint, credentials.password))


def guarded(agent: Agent, request: Request, account: str, check: Callable[[], Found]) -> Found:
    """What ``check`` returns. ``account``: the name that was given, known or not.

    Raises TooMany instead of checking, or what ``check`` raises; a NotAuthenticated is counted.
    """
    return _guarded(agent, request, account, lambda _: None, lambda _: check())


def guarded_password(
    agent: Agent, request: Request, name: str, endpoint: Endpoint | None, password: str
) -> Account:
    """The account that this password opens; ``endpoint``: whom the given name means, if anybody.

    All that is asked of the database is asked in one transaction. Raises as ``guarded`` does.
    """

    def read(connection: Connection) -> Any:
        return None if endpoint is None else agent.accounts.row(connection, endpoint)

    def check(row: Any) -> Account:
        return agent.accounts.authenticate_row(endpoint, row, password)

    return _guarded(agent, request, name, read, check)


def _guarded(
    agent: Agent,
    request: Request,
    account: str,
    read: Callable[[Connection], Read],
    check: Callable[[Read], Found],
) -> Found:
    """As ``guarded``; what ``check`` needs is read together with the failed log-ins."""
    limits = agent.rate_limits
    address = client_address(request, agent.settings.trusted_proxies)
    source = network_of(address)
    pair, by_address, by_account = (
        f"login:{source}:{account[:320]}",
        f"login:{source}",
        f"account:{account[:320]}",
    )
    most = agent.settings.failed_logins
    rates = {
        pair: Rate(most / WINDOW, most),
        by_address: Rate(most * FOR_AN_ADDRESS / WINDOW, most * FOR_AN_ADDRESS),
        by_account: Rate(most * FOR_AN_ACCOUNT / WINDOW, most * FOR_AN_ACCOUNT),
    }
    with agent.database.reading() as connection:
        left = limits.left(connection, rates)
        require_token(left[by_address], rates[by_address], WHAT)
        require_token(left[pair], rates[pair], WHAT)
        if left[pair] < most:
            # The owner, whose address has not failed, may even so.
            require_token(left[by_account], rates[by_account], WHAT)
        known = read(connection)
    try:
        return check(known)
    except NotAuthenticated:
        for name, rate in rates.items():
            limits.spend(name, rate)
        # fail2ban reads this line: contrib/fail2ban/filter.d/xhmtp.conf
        logger.warning("failed log-in from %s", address)
        raise
