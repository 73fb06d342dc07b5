"""Which address does a request come from? Proxies are believed only where the settings trust them.

Security: the address is that of the connection, unless the connection comes from a proxy that the
settings trust; only then X-Forwarded-For is read, from its right end, over trusted proxies alone.
"""

import ipaddress
from collections.abc import Sequence

from webob import Request

from xhmtp_wsgi.setting_types import UNIX_SOCKET, Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# A server on a Unix socket tells no address. The settings trust it by this one, which is nobody's.
_NO_ADDRESS = str(UNIX_SOCKET.network_address)
MAX_FORWARDED = 4096  # octets of X-Forwarded-For that are looked at


def client_address(request: Request, trusted_proxies: Sequence[Network]) -> Address | None:
    """The address that a request came from; None where the server does not tell one."""
    address = _address(request.environ.get("REMOTE_ADDR") or _NO_ADDRESS)
    forwarded = request.environ.get("HTTP_X_FORWARDED_FOR", "")
    if len(forwarded) > MAX_FORWARDED:
        forwarded = ""
    hops = [hop.strip() for hop in forwarded.split(",")] if forwarded else []
    while hops and address is not None and _trusted(address, trusted_proxies):
        hop = _address(hops.pop())
        if hop is None:
            break
        address = hop
    return None if str(address) == _NO_ADDRESS else address


def plain(address: Address) -> Address:
    """IPv4 in the clothes of IPv6, as a server on both shows it, is IPv4."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _address(text: str) -> Address | None:
    try:
        return plain(ipaddress.ip_address(text))
    except ValueError:
        return None


def _trusted(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
