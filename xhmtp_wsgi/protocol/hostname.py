"""Host and domain names: LDH A-labels, and nothing that a resolver might take for an address."""

import re

from xhmtp_wsgi.errors import MalformedAddress

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
MAX_LENGTH = 253  # octets


def parse_hostname(text: str) -> str:
    """The name in lower case, without a final dot.

    Raises MalformedAddress for what is not LDH labels of 1 to 63 octets (RFC 1123, section 2.1),
    and for a last label of digits only, or hexadecimal after 0x: such are spellings of addresses.
    """
    name = text.removesuffix(".")
    if not name or len(name) > MAX_LENGTH:
        raise MalformedAddress(f"a domain has 1 to {MAX_LENGTH} octets")
    if not name.isascii():
        raise MalformedAddress("a domain is written in ASCII; write its A-labels (xn--...)")
    name = name.lower()
    if not _NAME.fullmatch(name):
        raise MalformedAddress("a domain has labels of letters, digits and inner hyphens")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise MalformedAddress("a domain's last label is not a number; an address is not taken")
    return name
