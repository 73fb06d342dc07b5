"""Forwarding: an inbox of ours that is at another agent now; its sender is told where (308).

Security: no connection is opened; the DNS alone is asked. Where an inbox has moved to is told only
to whom it would have been taken from.
"""

from xhmtp_wsgi.discovery import Discovery
from xhmtp_wsgi.errors import BadDomain, Moved, NoService, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.routes import inbox_path

_DEFAULT_PORTS = {"http": 80, "https": 443}


def moved_to(discovery: Discovery, target: Endpoint) -> Moved:
    """What to raise for an inbox that is another agent's.

    Raises DNSUnavailable while the DNS does not tell where, NotFound where it says nowhere.
    """
    try:
        agent = discovery.agents(target.domain)[0]
        prefix = discovery.prefix(target.domain)
    except (NoService, BadDomain) as error:
        raise NotFound(f"it is forwarded to where nothing is taken: {error}") from None
    port = "" if agent.port == _DEFAULT_PORTS[agent.scheme] else f":{agent.port}"
    location = f"{agent.scheme}://{agent.host}{port}{inbox_path(prefix, target)}"
    return Moved(f"this inbox has moved to {target}", location)
