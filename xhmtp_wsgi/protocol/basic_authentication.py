"""HTTP Basic credentials (RFC 7617): how alice, bob's reader and a recipient with his code log in.

Security: every string that a client sends ends here as credentials or None, never as another error.
"""

import base64
import binascii
from dataclasses import dataclass, field
from urllib.parse import unquote

CHALLENGE = 'Basic realm="xhmtp", charset="UTF-8"'
MAX_LENGTH = 2048  # octets of the header


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and a password as sent; ``repr`` hides the password."""

    user: str
    password: str = field(repr=False)


def parse_authorization(header: str | None) -> Credentials | None:
    """The credentials in an Authorization header; None if there are none, or not Basic ones.

    UTF-8 first, as our challenge asks; ISO 8859-1 for clients that do not heed it.
    """
    if not header or len(header) > MAX_LENGTH:
        return None
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        octets = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    user, colon, password = text.partition(":")
    if "@" not in user:
        # Some readers pass on the user name of a URL as it stands there (feedparser 6 does).
        user = unquote(user)
    return Credentials(user, password) if colon else None


def basic_credentials(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
