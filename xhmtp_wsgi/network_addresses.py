"""Which addresses and ports may be connected to: everything that a stranger's zone names is vetted.

Pure: addresses in, verdicts out. Only the network calls it.

Security: Python's ``is_global`` lets NAT64, 6to4, multicast and a cloud's own addresses through,
and its tables change from version to version, so there is a table of our own beside it. If any
address of a host is refused, the host is: to skip the bad ones would tell a stranger which of our
addresses answer.
"""

import ipaddress
from collections.abc import Container, Sequence

from xhmtp_wsgi.dns_resolver import Address
from xhmtp_wsgi.errors import AddressRefused

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV6_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that IANA has opened for use

_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # shared by carriers (RFC 6598)
        "168.63.129.16/32",  # Azure's own service
        "192.0.0.0/24",  # protocol assignments, Oracle's metadata
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "::/96",  # IPv4-compatible (RFC 4291)
        "64:ff9b::/96",  # NAT64 (RFC 6052)
        "64:ff9b:1::/48",  # NAT64 of a site (RFC 8215)
        "2001::/23",  # Teredo, ORCHID and other protocol assignments
        "2002::/16",  # 6to4 (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing (RFC 9602)
        "fec0::/10",  # site-local (RFC 3879)
    )
)

# Ports above 1023 at which browsers will not speak HTTP, as another service is expected there
# (WHATWG Fetch, "bad port"), and two caches that obey whoever can connect.
_BAD_PORTS = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6679, 6697, 10080}
    | {*range(6665, 6670), 6379, 11211}
)


def is_refused(address: Address) -> str | None:
    """Why that address may not be connected to; None if it may."""
    plain = unmapped(address)
    if plain.is_multicast:
        return "a multicast address"
    if plain.is_loopback:
        return "a loopback address"
    if plain.is_link_local:
        return "a link-local address"
    if any(plain in network for network in _REFUSED):
        return "an address that leads elsewhere"
    if not plain.is_global or plain.is_reserved:
        return "not a public address"
    if plain.version == 6 and plain not in _IPV6_UNICAST:
        return "not a public address"
    return None


def vet(
    host: str, addresses: Sequence[Address], allow_networks: Sequence[Network]
) -> tuple[Address, ...]:
    """The addresses, with IPv4 in the clothes of IPv6 unclothed, if each may be connected to.

    Addresses of ``allow_networks`` always may. Raises AddressRefused, for the first that may not.
    """
    vetted = tuple(unmapped(address) for address in addresses)
    for address in vetted:
        reason = is_refused(address)
        if reason is not None and not any(address in network for network in allow_networks):
            raise AddressRefused(f"{host} has {address}, {reason}; allow_networks can allow it")
    return vetted


def port_refused(port: int, allowed_ports: Container[int] | None = None) -> bool:
    """Is another service than HTTP to be expected there?

    Without ``allowed_ports``, 80, 443 and those above 1023 are allowed, but for well-known others.
    """
    if allowed_ports is not None:
        return port not in allowed_ports
    return port not in (80, 443) and (not 1023 < port < 65536 or port in _BAD_PORTS)


def unmapped(address: Address) -> Address:
    """IPv4 in the clothes of IPv6 is IPv4 (RFC 4291, section 2.5.5.2)."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
