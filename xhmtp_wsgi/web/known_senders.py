"""Whom somebody knows: for the choice to keep copies of messages from people one knows only.

The sender of a message is known where both hold:

- It is he: the notification names him in From, and *agent* passed, and so did *origin* or
  *signature*. A name that anybody may have written is nobody's.
- The owner has written to him (his address stands in To or Cc of a message that the owner has
  sent), or has opened an earlier message of his that passed the same checks, and has not thrown it
  away.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from xhmtp_wsgi import search
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.errors import XHMTPError
from xhmtp_wsgi.protocol.composing import header_fields
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import addresses
from xhmtp_wsgi.recipient import inbox, mailbox
from xhmtp_wsgi.recipient.authorship import AGENT, SIGNATURE
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.origin import ORIGIN
from xhmtp_wsgi.recipient.verdict import PASS
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.sender.outbox import StoredMessage

MOST_LOOKED_AT = 200  # messages with the sender's address in them, the newest


@dataclass(frozen=True, slots=True)
class _Found:
    received: list[Notice]
    sent: list[StoredMessage]


def is_known(agent: Agent, owner: Endpoint, notice: Notice) -> bool:
    """Does the owner know the sender of this message, as this module's docstring defines it?"""
    author = verified_author(notice)
    if author is None:
        return False
    found = _with_address(agent, owner, author)
    return any(_is_addressed(message.header, author) for message in found.sent) or any(
        _is_acquaintance(earlier, author)
        for earlier in found.received
        if earlier.identifier != notice.identifier
    )


def verified_author(notice: Notice) -> Endpoint | None:
    """The address in From, if it is known to be his who sent it."""
    passed = {check.name for check in notice.checks if check.result == PASS}
    if AGENT not in passed or not passed & {ORIGIN, SIGNATURE}:
        return None
    return next(iter(_addresses_in(notice.headers, ("from",))), None)


def _is_acquaintance(earlier: Notice, author: Endpoint) -> bool:
    return (
        earlier.seen_at is not None
        and earlier.position > 0
        and earlier.folder != mailbox.TRASH
        and verified_author(earlier) == author
    )


def _is_addressed(header: bytes, author: Endpoint) -> bool:
    return author in _addresses_in(header, ("to", "cc"))


def _with_address(agent: Agent, owner: Endpoint, author: Endpoint) -> _Found:
    """What has that address in its header, found by its words."""
    hits = search.find(agent.database, owner, f'"{author}"', limit=MOST_LOOKED_AT)
    received = [hit.item for hit in hits if hit.kind == inbox.SEARCH_KIND]
    sent = [hit.item for hit in hits if hit.kind == outbox.SEARCH_KIND]
    return _Found(
        mailbox.several(agent.database, owner, received),
        outbox.several(agent.database, owner, sent),
    )


def _addresses_in(header: bytes, names: Iterable[str]) -> list[Endpoint]:
    try:
        fields = header_fields(header)
        values = [fields[name] for name in names if fields.get(name)]
        return [address.canonical for value in values for address in addresses(value)]
    except XHMTPError:
        # It was read when it came; should that change, nobody is taken for known.
        return []
