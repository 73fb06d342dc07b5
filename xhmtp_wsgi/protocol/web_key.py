"""Where the OpenPGP key of an address is looked for: the paths of a Web Key Directory.

draft-koch-openpgp-webkey-service, section 3.1. A program asks the advanced way first, at the host
``openpgpkey.DOMAIN``, and the direct one, at DOMAIN itself, where there is no such host.
"""

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import quote

from xhmtp_wsgi.protocol.endpoint import Endpoint

ROOT = "/.well-known/openpgpkey/"
ADVANCED = "openpgpkey."
"""What the advanced way's host is called, before the domain."""
_LETTERS = "ybndrfg8ejkmcpqxot1uwisza345h769"  # z-base-32 (RFC 6189, section 5.1.6)
_HASH = re.compile(f"[{_LETTERS}]{{32}}")


@dataclass(frozen=True, slots=True)
class WebKeyPath:
    """What a path asks for: the key of a hash, or (None) the directory's policy.

    ``domain``: that of the advanced way; None in the direct one, where the host tells it.
    """

    hash: str | None
    domain: str | None

    @classmethod
    def parse(cls, path: str) -> "WebKeyPath | None":
        """What the path of a request asks for; None where it is none of a directory's."""
        if not path.startswith(ROOT):
            return None
        segments = path[len(ROOT) :].split("/")
        domain = None
        if segments[0] not in ("hu", "policy") and len(segments) > 1:
            domain = segments.pop(0).lower()
        if segments == ["policy"]:
            return cls(None, domain)
        if len(segments) == 2 and segments[0] == "hu" and _HASH.fullmatch(segments[1]):
            return cls(segments[1], domain)
        return None


def hashed(local: str) -> str:
    """What stands for the part before the @: z-base-32 of the SHA-1 of it in lower case."""
    # Not for security: it is guessed from the address, and meant to be.
    digest = hashlib.sha1(local.lower().encode("ascii"), usedforsecurity=False).digest()
    number = int.from_bytes(digest, "big")
    return "".join(_LETTERS[number >> shift & 31] for shift in range(155, -1, -5))


def direct_url(endpoint: Endpoint) -> str:
    """Where the key of an address is, the direct way."""
    return f"https://{endpoint.domain}{ROOT}hu/{hashed(endpoint.local)}?l={quote(endpoint.local)}"
