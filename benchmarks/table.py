"""What was found, as text for a terminal."""

from collections.abc import Sequence

from benchmarks.figures import Found, Line, number


def as_text(found: Sequence[Found]) -> str:
    """The whole table."""
    parts = []
    for one in found:
        parts.append(f"{one.row}. {one.title}\n")
        parts += [_line(line) for line in one.lines]
        parts += [f"   not measured: {why}\n" for why in one.missing]
    return "".join(parts)


def _line(line: Line) -> str:
    text = f"   {line.what} [{line.unit}]\n      ours {line.ours.text()}"
    if line.peer is not None:
        text += f"; {line.peer_name} {line.peer.text()}"
    if line.ratio is not None:
        text += f"; ratio {number(line.ratio)}"
    if line.goal is not None:
        text += f"; goal {line.goal.text()}: {'met' if line.is_met else 'MISSED'}"
    return text + (f"\n      {line.note}" if line.note else "") + "\n"
