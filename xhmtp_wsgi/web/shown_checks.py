"""What was checked of a message, in plain words (docs/protocol.md, section 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xhmtp_wsgi.recipient.reading import CHANGED_KEY
from xhmtp_wsgi.recipient.verdict import FAIL, NONE, PASS, Check

_NAMES: Mapping[str, str] = {
    "origin": "The server that told of it",
    "agent": "The server that has it",
    "signature": "The signature of the sender's domain",
    "digest": "That it is unchanged",
    "sealed": "The seal",
    "author": "The author's own signature",
    "original author": "The first author's own signature",
}
_RESULTS: Mapping[str, str] = {PASS: "passed", FAIL: "failed", NONE: "not checked"}
_LOOKS: Mapping[str, str] = {PASS: "good", FAIL: "wrong", NONE: "muted"}


@dataclass(frozen=True, slots=True)
class ShownCheck:
    """``look``: a class of the style sheet. Strangers' names stand in ``reason``."""

    name: str
    result: str
    look: str
    reason: str


def shown_checks(checks: Sequence[Check]) -> list[ShownCheck]:
    """Each check, in its order."""
    return [
        ShownCheck(
            _NAMES.get(check.name, check.name),
            _RESULTS.get(check.result, check.result),
            _LOOKS.get(check.result, "muted"),
            check.reason,
        )
        for check in checks
    ]


def failed(checks: Sequence[Check]) -> list[ShownCheck]:
    """Those that failed."""
    return shown_checks([check for check in checks if check.result == FAIL])


def has_new_key(checks: Sequence[Check]) -> bool:
    """Is it signed, with another key than its author had?"""
    return any(check.result == FAIL and check.reason.startswith(CHANGED_KEY) for check in checks)
