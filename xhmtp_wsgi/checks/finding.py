"""What a check has found: what was looked at, how it is, what to do."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"  # works, but not for long, or not for all
    BROKEN = "broken"
    UNKNOWN = "unknown"  # could not be looked at, for what another finding tells


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check.

    ``check``: a name that stays, for programs; ``where``: the file, domain or host that was looked
    at; ``remedy``: what to do, empty where nothing is to be done.
    """

    check: str
    where: str
    state: State
    found: str
    remedy: str = ""


def ok(check: str, where: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, where, State.OK, found)


def warning(check: str, where: str, found: str, remedy: str) -> Finding:
    """It works, but not for long, or not for all."""
    return Finding(check, where, State.WARNING, found, remedy)


def broken(check: str, where: str, found: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check, where, State.BROKEN, found, remedy)


def unknown(check: str, where: str, found: str, remedy: str = "") -> Finding:
    """It could not be looked at."""
    return Finding(check, where, State.UNKNOWN, found, remedy)
