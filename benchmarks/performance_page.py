"""docs/performance.md: the table between its markers and the plots, from benchmarks/measured.json.

What stands outside the markers stays as it is. Rows that are not measured anew stay as they were.
Without matplotlib (the extra `bench`) there are no plots, and that is said.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from benchmarks.figures import Found, Line, number
from benchmarks.machine import description

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
KEPT = ROOT / "benchmarks" / "measured.json"
PLOTS = ROOT / "docs" / "_static"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write(
    found: Iterable[Found], page: Path = PAGE, kept: Path = KEPT, plots: Path = PLOTS
) -> list[str]:
    """Takes in what was found and writes all; what is to be said of that.

    Raises ValueError where the page has no markers.
    """
    rows = {one.row: one for one in _kept(kept)}
    rows |= {one.row: one for one in found}
    everything = [rows[row] for row in sorted(rows)]
    kept.write_text(json.dumps([json.loads(one.to_json()) for one in everything], indent=1) + "\n")
    said = [f"written: {page}, {kept}"]
    made: dict[int, str] = {}
    try:
        from benchmarks.plots import draw
    except ImportError:
        said.append("no plots: matplotlib is not installed (pip install -e '.[bench]')")
    else:
        made = draw(everything, plots)
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no {BEGIN} and {END}")
    page.write_text(before + BEGIN + "\n" + _table(everything, made) + END + after)
    return said


def _kept(kept: Path) -> list[Found]:
    if not kept.exists():
        return []
    return [Found.from_json(json.dumps(one)) for one in json.loads(kept.read_text())]


def _table(found: list[Found], plots: dict[int, str]) -> str:
    parts = [f"\n{description()}\n\n"]
    parts.append("| Row | What | Unit | XHMTP | Peer | Ratio | Goal | Met |\n")
    parts.append("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
    parts += [_cells(line) for one in found for line in one.lines]
    parts.append("\nThe median of the rounds, and in brackets the least and the most.\n\n")
    for one in found:
        parts += [f"Row {one.row} ({one.title}): not measured: {why}\n\n" for why in one.missing]
        how = sorted({f"`{line.how}`" for line in one.lines})
        if how:
            parts.append(f"- Row {one.row}, {one.title}: {', '.join(how)}\n")
    parts.append("\n")
    for row, name in plots.items():
        title = next(one.title for one in found if one.row == row)
        parts.append(f"![Row {row}: {title}](_static/{name})\n\n")
    return "".join(parts)


def _cells(line: Line) -> str:
    peer = "" if line.peer is None else f"{line.peer_name}: {line.peer.text()}"
    ratio = "" if line.ratio is None else number(line.ratio)
    goal = "" if line.goal is None else line.goal.text()
    met = {None: "", True: "yes", False: "**no**"}[line.is_met]
    what = f"{line.what}; {line.note}" if line.note else line.what
    cells = [str(line.row), what, line.unit, line.ours.text(), peer, ratio, goal, met]
    return "| " + " | ".join(cells) + " |\n"
