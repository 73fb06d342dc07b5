"""The prefix: the path below which a domain's agent answers (docs/protocol.md, section 2)."""

import re

from xhmtp_wsgi.errors import MalformedPrefix

DEFAULT_PREFIX = ".well-known/xhmtp"
MAX_LENGTH = 255  # octets
_SEGMENTS = re.compile(r"[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*")


def parse_prefix(text: str) -> str:
    """The prefix without a leading or trailing slash. Raises MalformedPrefix, saying why."""
    prefix = text.removeprefix("/").removesuffix("/")
    if not prefix or len(prefix) > MAX_LENGTH:
        raise MalformedPrefix(f"a prefix has 1 to {MAX_LENGTH} characters")
    if not _SEGMENTS.fullmatch(prefix):
        raise MalformedPrefix("a prefix has path segments of A-Z a-z 0-9 . _ ~ -")
    if {".", ".."} & set(prefix.split("/")):
        raise MalformedPrefix("a prefix has no segment . or ..")
    return prefix
