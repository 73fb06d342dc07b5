"""Runs that take turns: A B A B, so that whatever else the machine does meets all of them alike."""

import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

Measured = TypeVar("Measured")


def interleaved(
    sides: Mapping[str, Callable[[], Measured]],
    rounds: int,
    *,
    warm_up: bool = True,
    told: bool = True,
) -> dict[str, list[Measured]]:
    """What each side measured in each round; ``warm_up``: a round before these is thrown away.

    Every other round goes through the sides backwards, so that none is always first. On a terminal
    each is told, unless ``told`` is false, as where a round takes no time.
    """
    found: dict[str, list[Measured]] = {name: [] for name in sides}
    for turn in range(-1 if warm_up else 0, rounds):
        order = list(sides) if turn % 2 == 0 else list(reversed(list(sides)))
        for name in order:
            if told:
                _tell(f"  {name}, {f'round {turn + 1} of {rounds}' if turn >= 0 else 'to warm up'}")
            measured = sides[name]()
            if turn >= 0:
                found[name].append(measured)
    return found


def _tell(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(line + "\n")
