"""How far a message has come, in plain words (docs/protocol.md, section 10)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from xhmtp_wsgi.protocol.status import State
from xhmtp_wsgi.sender.outbox import RecipientStatus
from xhmtp_wsgi.sender.progress import Progress

_DETAIL = re.compile(r'\{.*"detail": ("(?:[^"\\]|\\.)*")', re.DOTALL)
_ONE: Mapping[State, str] = {
    State.QUEUED: "Waits to be told",
    State.DEFERRED: "Waits",
    State.NOTIFIED: "Notified",
    State.FETCHED: "Fetched",
    State.REFUSED: "Refused",
    State.EXPIRED: "Given up",
    State.WITHDRAWN: "Withdrawn",
}
_LOOKS: Mapping[State, str] = {
    State.QUEUED: "muted",
    State.DEFERRED: "doubt",
    State.NOTIFIED: "good",
    State.FETCHED: "good",
    State.REFUSED: "wrong",
    State.EXPIRED: "wrong",
    State.WITHDRAWN: "muted",
}


@dataclass(frozen=True, slots=True)
class ShownRecipient:
    """A recipient's state; ``look``: a class of the style sheet; times of the epoch."""

    address: str
    state: str
    look: str
    reason: str
    tries: int
    next_try_at: float | None
    notified_at: float | None
    fetched_at: float | None
    moved_to: str
    unvouched: str


def in_words(progress: Progress) -> str:
    """A line for a list, such as ``2 of 3 notified, 1 waits: b.example does not answer``."""
    if progress.total == 0:
        return "Nobody is told of it"
    if progress.total == 1:
        (state,) = progress.counts
        return _with_reason(_ONE[state], progress.reasons.get(state, ""), state)
    return ", ".join(_parts(progress))


def look_of(progress: Progress) -> str:
    """A class of the style sheet: that of the state that asks for most attention."""
    order = (
        State.REFUSED, State.EXPIRED, State.DEFERRED, State.QUEUED, State.NOTIFIED, State.FETCHED
    )  # fmt: skip
    return next((_LOOKS[state] for state in order if progress.counts.get(state)), "muted")


def shown_recipient(status: RecipientStatus) -> ShownRecipient:
    """One recipient's state in words; what his agent answered only where that explains it."""
    explained = status.state in (State.DEFERRED, State.REFUSED, State.EXPIRED)
    return ShownRecipient(
        address=status.recipient,
        state=_ONE[status.state],
        look=_LOOKS[status.state],
        reason=plain(status.last_answer or "") if explained else "",
        tries=status.tries,
        next_try_at=status.next_try_at,
        notified_at=status.notified_at,
        fetched_at=status.fetched_at,
        moved_to=status.moved_to or "",
        unvouched=status.unvouched or "",
    )


def plain(answer: str) -> str:
    """What an agent answered, without the form that programs read (RFC 9457)."""
    found = _DETAIL.search(answer)
    if found is None:
        return answer
    try:
        return answer[: found.start()] + str(json.loads(found[1]))
    except ValueError:
        return answer


def _parts(progress: Progress) -> list[str]:
    counts = progress.counts
    fetched = counts.get(State.FETCHED, 0)
    notified = counts.get(State.NOTIFIED, 0) + fetched
    found = []
    if notified:
        also = f" ({fetched} fetched it)" if fetched else ""
        found.append(f"{notified} of {progress.total} notified{also}")
    if progress.waiting:
        verb = "waits" if progress.waiting == 1 else "wait"
        reason = progress.reasons.get(State.DEFERRED, "")
        found.append(_with_reason(f"{progress.waiting} {verb}", reason, State.DEFERRED))
    for state, what in (
        (State.REFUSED, "refused"),
        (State.EXPIRED, "given up"),
        (State.WITHDRAWN, "withdrawn"),
    ):
        if counts.get(state):
            reason = progress.reasons.get(state, "")
            found.append(_with_reason(f"{counts[state]} {what}", reason, state))
    return found


def _with_reason(what: str, reason: str, state: State) -> str:
    explained = state in (State.DEFERRED, State.REFUSED, State.EXPIRED)
    return f"{what}: {plain(reason)}" if reason and explained else what
