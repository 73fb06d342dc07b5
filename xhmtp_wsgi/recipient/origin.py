"""The origin check: did the notification come from the host that its URL names? (section 6)

Security: the address is client_address.py's, which no header can forge.
"""

from xhmtp_wsgi.client_address import Address, plain
from xhmtp_wsgi.discovery import Discovery
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient.verdict import FAIL, PASS, Check

ORIGIN = "origin"


def check_origin(url: MessageURL, source: Address | None, discovery: Discovery) -> Check:
    """Passes where the URL's host has the address that the request came from.

    Raises DNSUnavailable where that cannot be known just now.
    """
    addresses = _addresses(discovery, url.host, fresh=False)
    if source not in addresses:
        # A failure is for good, and a host may just have moved to another address.
        addresses = _addresses(discovery, url.host, fresh=True)
    if source is not None and source in addresses:
        return Check(ORIGIN, PASS, f"{url.host} has the address {source} that told us")
    if not addresses:
        return Check(ORIGIN, FAIL, f"{url.host} has no address")
    return Check(ORIGIN, FAIL, f"{url.host} does not have the address {source} that told us")


def _addresses(discovery: Discovery, host: str, *, fresh: bool) -> list[Address]:
    return [plain(address) for address in discovery.addresses(host, fresh=fresh)]
