"""The states of a recipient of a message (docs/protocol.md, section 10).

queued ─▶ notified ─▶ fetched
  │ ▲
  ▼ │
deferred ─▶ expired                withdrawn: from any of these but refused and expired
  └──▶ refused
"""

from enum import StrEnum


class State(StrEnum):
    """How far a message has come to one recipient."""

    QUEUED = "queued"
    DEFERRED = "deferred"
    NOTIFIED = "notified"
    FETCHED = "fetched"
    REFUSED = "refused"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


WAITING = (State.QUEUED, State.DEFERRED)
"""Those that the notifier still has work with."""
