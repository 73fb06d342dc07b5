"""Who is it that injects, or asks for what she has sent? (docs/protocol.md, section 4)"""

from webob import Request

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import Forbidden, MalformedAddress, NotAuthenticated
from xhmtp_wsgi.login_guard import guarded
from xhmtp_wsgi.protocol.basic_authentication import parse_authorization
from xhmtp_wsgi.protocol.endpoint import Endpoint


def authenticated_sender(agent: Agent, request: Request, local: str | None) -> Endpoint:
    """The endpoint whose outbox ``/local/`` is, or anybody's, logged in by HTTP Basic.

    The user name is the whole address; its local part alone will do where only one of the agent's
    domains has such a user. Raises NotAuthenticated, or Forbidden for somebody else's outbox.
    """
    credentials = parse_authorization(request.environ.get("HTTP_AUTHORIZATION"))
    if credentials is None:
        raise NotAuthenticated("this needs HTTP Basic credentials")
    endpoint = _endpoint(agent, credentials.user)
    account = guarded(
        agent,
        request,
        credentials.user,
        lambda: agent.accounts.authenticate(endpoint, credentials.password),
    )
    if local is not None and account.endpoint.local != local.lower():
        raise Forbidden(f"{account.endpoint} may not use the outbox of {local}")
    return account.endpoint


def _endpoint(agent: Agent, user: str) -> Endpoint | None:
    """The endpoint that a user name means; None if it means none, or several."""
    domains = [""] if "@" in user else [f"@{domain}" for domain in agent.settings.domains]
    found = []
    for domain in domains:
        try:
            endpoint = Endpoint.parse(user + domain).canonical
        except MalformedAddress:
            continue
        if len(domains) == 1 or agent.accounts.find(endpoint) is not None:
            found.append(endpoint)
    return found[0] if len(found) == 1 else None
