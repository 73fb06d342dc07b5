"""What a site is told when a notification arrives, so that it can show, count or pass it on.

Security: ``url`` holds the recipient's access code: it is for him alone, and is not in the repr.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A notification that was taken, and is on disk.

    ``sender``: the address in From, as the sender's agent tells it, None for an anonymous message;
    ``subject``: decoded; ``quarantined``: kept out of the feed by a filter; ``passed``: the checks
    of docs/protocol.md, section 6, that it passed. Everything in it was written by a stranger.
    """

    recipient: str
    sender: str | None
    subject: str
    identifier: str
    url: str = field(repr=False)
    quarantined: bool
    passed: frozenset[str]


Listener: TypeAlias = Callable[[Arrival], object]


def unheard(_arrival: Arrival) -> None:
    """Nobody listens."""


def tell_each(arrival: Arrival, calls: Iterable[Callable[[], object]]) -> None:
    """Makes each call, one for each listener of the site's.

    One that fails is logged, and keeps no other from hearing.
    """
    for call in calls:
        try:
            call()
        except Exception:
            logger.exception("the site's own code failed for the arrival %s", arrival.identifier)
