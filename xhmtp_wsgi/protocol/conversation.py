"""Conversations: which messages belong together, by References and In-Reply-To (RFC 5322)."""

import hashlib
import re
from collections.abc import Mapping

_IDENTIFIER = re.compile(r"<[^<>\s]{1,250}>")
MOST_LOOKED_AT = 16 << 10  # characters of a field


def identifiers(value: str) -> tuple[str, ...]:
    """The message identifiers in a field, in their order."""
    return tuple(_IDENTIFIER.findall(value[:MOST_LOOKED_AT]))


def thread_of(fields: Mapping[str, str]) -> str:
    """The name of the conversation that a message belongs to, by its own header.

    ``fields``: by name in lower case. It is the first message that References names, or the one
    that it answers, or itself. A hash, so that it has one length whatever a stranger wrote; empty
    for a message that has none of these fields.
    """
    for name in ("references", "in-reply-to", "message-id"):
        found = identifiers(fields.get(name, ""))
        if found:
            return hashlib.sha256(found[0].encode()).hexdigest()[:32]
    return ""
