"""An endpoint: a person or program with an address, alice@A (docs/protocol.md, section 1)."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from xhmtp_wsgi.errors import MalformedAddress
from xhmtp_wsgi.protocol.hostname import parse_hostname

# RFC 5322's dot-atom, less the slash, which would be two segments of a path.
_ATOM = r"[A-Za-z0-9!#$%&'*+=?^_`{|}~-]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
MAX_LOCAL, MAX_ADDRESS = 64, 254  # octets (RFC 5321, section 4.5.3.1)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address; the local part as written, the domain in lower case."""

    local: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """The endpoint that an addr-spec names (RFC 5322, section 3.4.1, without quoted strings).

        Raises MalformedAddress, saying why.
        """
        local, at, domain = text.rpartition("@")
        if not at:
            raise MalformedAddress("an address has the form name@domain")
        if len(local) > MAX_LOCAL or len(text) > MAX_ADDRESS:
            raise MalformedAddress(
                f"an address has at most {MAX_LOCAL} octets before the @ and {MAX_ADDRESS} in all"
            )
        if not _LOCAL.fullmatch(local):
            raise MalformedAddress("an address has ASCII letters, digits and !#$%&'*+-=?^_`{|}~.")
        return cls(local, parse_hostname(domain))

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def canonical(self) -> "Endpoint":
        """As our own accounts are looked up: the local part in lower case."""
        return Endpoint(self.local.lower(), self.domain)

    @property
    def quoted(self) -> str:
        """Percent-encoded, for a path or for the user name in a URL."""
        return quote(str(self), safe="")
