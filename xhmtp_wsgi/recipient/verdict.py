"""A check of a notification and how it ended (docs/protocol.md, section 6)."""

from dataclasses import dataclass

PASS, FAIL, NONE = "pass", "fail", "none"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: ``result`` is PASS, FAIL or NONE; ``reason`` is a line for people."""

    name: str
    result: str
    reason: str
