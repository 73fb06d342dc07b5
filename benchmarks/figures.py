"""What a benchmark found: series of repeated measurements, lines of the table, and their goals.

A line compares a series of ours with one of the peer's, taken in turns (interleaved.py). Its ratio
is that of the medians; the spread beside a median is that from the least to the most.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


class NotMeasured(Exception):
    """Why a row cannot be measured here, and what to do about that."""


@dataclass(frozen=True, slots=True)
class Series:
    """The same thing, measured several times."""

    values: tuple[float, ...]

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.values)

    def text(self) -> str:
        """The median, and in brackets the least and the most."""
        if len(self.values) == 1:
            return number(self.middle)
        return f"{number(self.middle)} ({number(min(self.values))} to {number(max(self.values))})"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that the ratio to the peer shall keep; ``absolute``: that our own median shall."""

    bound: float
    at_least: bool = True
    absolute: bool = False

    def text(self) -> str:
        """In words."""
        return f"{'at least' if self.at_least else 'at most'} {number(self.bound)}"

    def is_met(self, found: float) -> bool:
        """Is it kept?"""
        return found >= self.bound if self.at_least else found <= self.bound


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. ``unit``: of both series; ``how``: the command that measures it."""

    row: int
    what: str
    unit: str
    ours: Series
    peer_name: str = ""
    peer: Series | None = None
    goal: Goal | None = None
    note: str = ""
    how: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to the peer's, of the medians."""
        if self.peer is None or not self.peer.middle:
            return None
        return self.ours.middle / self.peer.middle

    @property
    def is_met(self) -> bool | None:
        """Is the goal met? None where there is none."""
        if self.goal is None:
            return None
        found = self.ours.middle if self.goal.absolute else self.ratio
        return None if found is None else self.goal.is_met(found)


@dataclass(frozen=True, slots=True)
class Found:
    """All that a row found; ``missing``: why it, or a part of it, was not measured."""

    row: int
    title: str
    lines: tuple[Line, ...] = ()
    missing: tuple[str, ...] = field(default=())

    def to_json(self) -> str:
        """As text that ``from_json`` takes."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Found":
        """What ``to_json`` wrote."""
        given = json.loads(text)
        lines = tuple(_line(one) for one in given["lines"])
        return cls(given["row"], given["title"], lines, tuple(given["missing"]))


def series(values: Sequence[float]) -> Series:
    """A series of these."""
    return Series(tuple(values))


def number(value: float) -> str:
    """Three digits that count, and commas."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    if abs(value) >= 0.1:
        return f"{value:.2f}"
    return f"{value:.2g}"


def _line(given: dict[str, Any]) -> Line:
    goal, peer = given.pop("goal"), given.pop("peer")
    return Line(
        **{
            **given,
            "ours": Series(tuple(given["ours"]["values"])),
            "peer": None if peer is None else Series(tuple(peer["values"])),
            "goal": None if goal is None else Goal(**goal),
        }
    )
