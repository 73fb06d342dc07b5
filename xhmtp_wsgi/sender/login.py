"""Who is it that injects, or asks for what she has sent? (docs/protocol.md, section 4)"""

from webob import Request

from xhmtp_wsgi.accounts import Account
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Forbidden, NotAuthenticated
from xhmtp_wsgi.login_guard import guarded, guarded_password, logged_in_by_site
from xhmtp_wsgi.protocol.basic_authentication import parse_authorization
from xhmtp_wsgi.protocol.endpoint import Endpoint


def authenticated_sender(agent: Agent, request: Request, local: str | None) -> Endpoint:
    """The endpoint whose outbox ``/local/`` is, or anybody's: logged in by the site, or by Basic.

    The user name is the whole address; its local part alone will do where only one of the agent's
    domains has such a user. Raises NotAuthenticated, or Forbidden for somebody else's outbox.
    """
    account = logged_in_by_site(agent, request) or _by_password(agent, request)
    if local is not None and account.endpoint.local != local.lower():
        raise Forbidden(f"{account.endpoint} may not use the outbox of {local}")
    return account.endpoint


def _by_password(agent: Agent, request: Request) -> Account:
    credentials = parse_authorization(request.environ.get("HTTP_AUTHORIZATION"))
    if credentials is None:
        raise NotAuthenticated("this needs HTTP Basic credentials")
    accounts, user, password = agent.accounts, credentials.user, credentials.password
    if "@" in user:
        return guarded_password(agent, request, user, accounts.named(user), password)
    # Whom that means has to be looked for in each domain: not before the failed log-ins are.
    return guarded(
        agent, request, user, lambda: accounts.authenticate(accounts.named(user), password)
    )
