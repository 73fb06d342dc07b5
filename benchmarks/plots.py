"""Plots of what was found: for each row a picture, ours beside the peer's, with their spread.

Needs matplotlib, which the extra `bench` has.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib  # type: ignore[import-not-found, unused-ignore]
import matplotlib.pyplot as plots  # type: ignore[import-not-found, unused-ignore]

from benchmarks.figures import Found, Line, Series

OURS, PEER = "#1f5f8b", "#b9b9b9"
matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "xhmtp"  # so that the same figures make the same file


def draw(found: Sequence[Found], directory: Path) -> dict[int, str]:
    """Writes a picture of each row that has lines; their names by row."""
    made = {}
    for one in found:
        if one.lines:
            made[one.row] = f"performance-{one.row}.svg"
            _draw(one, directory / made[one.row])
    return made


def _draw(one: Found, file: Path) -> None:
    units = list(dict.fromkeys(line.unit for line in one.lines))
    by_unit = {unit: [line for line in one.lines if line.unit == unit] for unit in units}
    bars = [1 + sum(1 + (line.peer is not None) for line in lines) for lines in by_unit.values()]
    figure, axes = plots.subplots(
        len(units), 1, figsize=(8, 0.6 + 0.32 * sum(bars)), squeeze=False,
        gridspec_kw={"height_ratios": bars}, layout="constrained",
    )  # fmt: skip
    figure.suptitle(f"{one.row}. {one.title}", fontsize=11)
    for axis, (unit, lines) in zip(axes[:, 0], by_unit.items(), strict=True):
        _bars(axis, unit, lines)
    figure.savefig(file, metadata={"Date": None})
    plots.close(figure)


def _bars(axis: Any, unit: str, lines: list[Line]) -> None:
    names: list[str] = []
    for line in lines:
        for name, values, colour in (
            (line.what, line.ours, OURS),
            (line.peer_name, line.peer, PEER),
        ):
            if values is not None:
                axis.barh(len(names), values.middle, color=colour, xerr=_spread(values), capsize=2)
                names.append(name)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(unit, fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _spread(values: Series) -> list[list[float]]:
    return [[values.middle - min(values.values)], [max(values.values) - values.middle]]
