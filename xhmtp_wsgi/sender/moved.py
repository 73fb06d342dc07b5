"""308: where an agent says that an inbox has moved to (docs/protocol.md, section 5).

Security: the new place is a stranger's word, and gets every check that the first place got: no
other scheme than HTTP, never from TLS to clear, LDH names only, no credentials, and the network
vets address and port as ever.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urljoin, urlsplit

from xhmtp_wsgi.discovery import AgentTarget
from xhmtp_wsgi.errors import BadDomain, MalformedAddress
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.hostname import parse_hostname

MAX_MOVES = 3
MAX_LOCATION = 2048  # characters
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a recipient is told, and the address that he has there."""

    target: AgentTarget
    path: str
    recipient: Endpoint


def moved_place(place: Place, answer: HTTPAnswer) -> Place | None:
    """Where an answer says that the inbox is now; None unless it is 308.

    Raises BadDomain for a Location that is none, or that must not be followed.
    """
    if answer.status != 308:
        return None
    host = place.target.host
    location = answer.headers.get("location", "")
    if not location or len(location) > MAX_LOCATION or not location.isascii():
        raise BadDomain(f"{host} says that the inbox has moved, and not where to")
    base = f"{place.target.scheme}://{host}:{place.target.port}{place.path}"
    try:
        parts = urlsplit(urljoin(base, location))
        port = parts.port
        new_host = parse_hostname(parts.hostname or "")
        recipient = Endpoint.parse(unquote(parts.path.rpartition("/")[2], errors="strict"))
    except (ValueError, MalformedAddress):
        raise BadDomain(f"{host} says that the inbox has moved to what is no inbox") from None
    if parts.scheme not in ("http", "https") or parts.username or parts.query or parts.fragment:
        raise BadDomain(f"{host} says that the inbox has moved to what is no inbox")
    if not _PATH.fullmatch(parts.path):
        raise BadDomain(f"{host} says that the inbox has moved to what is no inbox")
    if place.target.scheme == "https" and parts.scheme == "http":
        raise BadDomain(f"{host} wants the inbox told in clear, which it was not before")
    default = {"http": 80, "https": 443}[parts.scheme]
    target = AgentTarget(parts.scheme, new_host, default if port is None else port)
    return Place(target, parts.path, recipient)
