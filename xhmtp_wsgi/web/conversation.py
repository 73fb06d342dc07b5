"""The other messages of a conversation, received and sent, around the one that is shown.

What a sealed message answers is inside: it is in a conversation where its owner's key is unlocked.
"""

from collections.abc import Collection
from dataclasses import dataclass

from xhmtp_wsgi.recipient import mailbox, sealed_extracts
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.sender import outbox
from xhmtp_wsgi.web import listing
from xhmtp_wsgi.web.listing import Line
from xhmtp_wsgi.web.visit import Visit

MOST = 200  # messages of a conversation, of each kind


@dataclass(frozen=True, slots=True)
class Around:
    """What came before and after, each oldest first."""

    earlier: list[Line]
    later: list[Line]


def around(visit: Visit, thread: str | None, identifier: str, at: float) -> Around:
    """The conversation of a message. ``identifier``: its own; ``at``: when it came or was sent.

    ``thread``: by its true header, where that is known.
    """
    if not thread:
        return Around([], [])
    came = mailbox.conversation(visit.database, visit.owner, thread, MOST)
    came += _sealed(visit, thread, {one.identifier for one in came})
    went = outbox.conversation(visit.database, visit.owner.canonical, thread, MOST)
    lines = [
        *listing.received(visit, [one for one in came if one.identifier != identifier]),
        *(listing.sent(visit, one) for one in went if one.identifier != identifier),
    ]
    lines.sort(key=lambda line: line.at)
    return Around(
        [line for line in lines if line.at <= at], [line for line in lines if line.at > at]
    )


def _sealed(visit: Visit, thread: str, known: Collection[str]) -> list[Notice]:
    """Those that belong to it by what is inside of them, but for those that are known."""
    if not visit.is_unlocked:
        return []
    found = sealed_extracts.in_thread(visit.database, visit.owner, visit.identities, thread)
    others = [one for one in found if one not in known][:MOST]
    return [
        notice
        for notice in mailbox.several(visit.database, visit.owner, others)
        if notice.position > 0 and notice.folder != mailbox.TRASH
    ]
