"""Whom a message is for: the recipients that its header or whoever hands it in names.

Those of our own domains are looked up, so that a name that is nobody's is refused at once; of those
of others, only their agents know.
"""

from collections.abc import Iterable, Sequence

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import ImpossibleRecipients, MalformedAddress
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message import Preamble

AT_ONCE = 500  # recipients looked up in one statement, which has a few names for each


def named_recipients(
    agent: Agent, preamble: Preamble, named: Sequence[str] | None
) -> tuple[Endpoint, ...]:
    """Each once. ``named``: exactly those; None: those of To, Cc and Bcc.

    Raises ImpossibleRecipients, with the reason for each who cannot be one.
    """
    limit = agent.settings.max_recipients
    reasons: dict[str, str] = {}
    asked: dict[str, Endpoint] = {}
    for given in preamble.recipients if named is None else named:
        shown = str(given)[:320]
        try:
            asked[shown] = given if isinstance(given, Endpoint) else Endpoint.parse(given)
        except MalformedAddress as error:
            reasons[shown] = str(error)
    nobodies = _nobodies(agent, asked.values())
    found: dict[str, Endpoint] = {}
    for shown, endpoint in asked.items():
        if endpoint in nobodies:
            reasons[shown] = f"{endpoint.domain} has no such user"
        else:
            found.setdefault(str(endpoint), endpoint)
    if len(found) > limit:
        reasons["To, Cc, Bcc"] = f"{len(found)} recipients, and at most {limit} are taken"
    if not found and not reasons:
        reasons["To, Cc, Bcc"] = "no recipient is named"
    if reasons:
        raise ImpossibleRecipients(reasons)
    return tuple(found.values())


def _nobodies(agent: Agent, endpoints: Iterable[Endpoint]) -> set[Endpoint]:
    """Those of our own domains who lead nowhere."""
    ours = [endpoint for endpoint in endpoints if agent.accounts.acts_for(endpoint.domain)]
    found: set[Endpoint] = set()
    for first in range(0, len(ours), AT_ONCE):
        leads = agent.addressing.resolve_all(ours[first : first + AT_ONCE])
        found.update(endpoint for endpoint, where in leads.items() if where is None)
    return found
