"""The command line of a row that is measured alone: `python -m benchmarks.ROW [--quick]`.

Prints its lines; with --json also writes them to a file, from which benchmarks.__main__ has them.
"""

import argparse
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.figures import Found, Line, NotMeasured
from benchmarks.table import as_text

Measure = Callable[["Asked"], list[Line]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for. ``rounds`` and ``size``: 0 leaves it to the row."""

    quick: bool = False
    rounds: int = 0
    size: int = 0

    def rounds_or(self, usual: int) -> int:
        """How many rounds: as many as asked for; one where it shall be quick; else the usual."""
        return self.rounds or (1 if self.quick else usual)


def main(row: int, title: str, measure: Measure, manual: str | None) -> None:
    """Reads the options, measures, prints."""
    text = manual or ""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--size", type=int, default=0, help="of what the row measures: see above")
    parser.add_argument("--json", type=Path, help="a file for what was found")
    given = parser.parse_args()
    found = found_of(row, title, measure, Asked(given.quick, given.rounds, given.size))
    if given.json:
        given.json.write_text(found.to_json())
    else:
        sys.stdout.write(as_text([found]))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of every row."""
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--rounds", type=int, default=0, help="how often each side is measured")


def found_of(row: int, title: str, measure: Measure, asked: Asked) -> Found:
    """What a row finds, or why it does not."""
    try:
        lines = measure(asked)
    except NotMeasured as error:
        return Found(row, title, missing=(str(error),))
    how = f"python -m benchmarks.{Path(inspect.getfile(measure)).stem}"
    return Found(row, title, tuple(replace(line, how=line.how or how) for line in lines))
