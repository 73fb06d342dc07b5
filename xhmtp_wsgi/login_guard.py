"""Guessing at passwords: failed log-ins are counted by address and account, and logged.

An address that failed too often, in all or for one account, is refused for a while without a look
at the password. An account that many addresses fail for is refused to those that have failed for it
once, and not to its owner, who comes from elsewhere.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

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


def owner_logged_in(agent: Agent, request: Request, endpoint: Endpoint) -> Account:
    """The account of the endpoint whose resources are asked for: by the site's log-in, or Basic.

    Raises Misdirected, NotAuthenticated, TooMany, or Forbidden as ``logged_in_by_site`` does. A
    feed token is no password.
    """
    if not agent.accounts.acts_for(endpoint.domain):
        raise Misdirected(f"this agent does not act for {endpoint.domain}")
    account = logged_in_by_site(agent, request)
    if account is not None and account.endpoint == endpoint.canonical:
        return account
    credentials = parse_authorization(request.environ.get("HTTP_AUTHORIZATION"))
    if credentials is None:
        raise NotAuthenticated("this needs its owner's password")
    if credentials.user not in {str(endpoint), str(endpoint.canonical), endpoint.local}:
        raise NotAuthenticated("this is somebody else's")
    return guarded(
        agent,
        request,
        str(endpoint),
        lambda: agent.accounts.authenticate(endpoint, credentials.password),
    )


def guarded(agent: Agent, request: Request, account: str, check: Callable[[], Found]) -> Found:
    """What ``check`` returns. ``account``: the name that was given, known or not.

    Raises TooMany instead of checking, or what ``check`` raises; a NotAuthenticated is counted.
    """
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
    left = limits.left(rates)
    require_token(left[by_address], rates[by_address], WHAT)
    require_token(left[pair], rates[pair], WHAT)
    if left[pair] < most:
        # The owner, whose address has not failed, may even so.
        require_token(left[by_account], rates[by_account], WHAT)
    try:
        return check()
    except NotAuthenticated:
        for name, rate in rates.items():
            limits.spend(name, rate)
        # fail2ban reads this line: contrib/fail2ban/filter.d/xhmtp.conf
        logger.warning("failed log-in from %s", address)
        raise
