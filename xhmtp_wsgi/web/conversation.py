"""The other messages of a conversation, received and sent, around the one that is shown."""

from dataclasses import dataclass

from xhmtp_wsgi.recipient import mailbox
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
    """The conversation of a message. ``identifier``: its own; ``at``: when it came or was sent."""
    if not thread:
        return Around([], [])
    came = mailbox.conversation(visit.database, visit.owner, thread, MOST)
    went = outbox.conversation(visit.database, visit.owner.canonical, thread, MOST)
    lines = [
        *(listing.received(visit, one) for one in came if one.identifier != identifier),
        *(listing.sent(visit, one) for one in went if one.identifier != identifier),
    ]
    lines.sort(key=lambda line: line.at)
    return Around(
        [line for line in lines if line.at <= at], [line for line in lines if line.at > at]
    )
