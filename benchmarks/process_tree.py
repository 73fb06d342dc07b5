"""What processes cost: processor time, octets written to disk, memory; as /proc tells it.

A tree is a process with all its descendants. Those that have ended are counted with whoever waited
for them, for processor time; what they wrote is not, so that a server whose processes come and go
is to be told to keep them (postfix.py does).
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

TICKS = os.sysconf("SC_CLK_TCK")
_GONE = (FileNotFoundError, ProcessLookupError)


def tree(root: int) -> Iterator[int]:
    """A process and its descendants."""
    yield root
    with suppress(*_GONE):
        for task in Path(f"/proc/{root}/task").iterdir():
            with suppress(*_GONE):
                for child in (task / "children").read_text().split():
                    yield from tree(int(child))


def processor_seconds(roots: Iterable[int]) -> float:
    """User and system time of these trees, with that of the children that have ended."""
    return sum(_ticks(process) for root in roots for process in tree(root)) / TICKS


def octets_written(roots: Iterable[int]) -> int:
    """What these trees had written to disk, less what was thrown away before it came there."""
    return sum(written_by(process) for root in roots for process in tree(root))


def written_by(process: int) -> int:
    """The same of one process alone."""
    with suppress(*_GONE):
        lines = Path(f"/proc/{process}/io").read_text().splitlines()
        told = {name: int(value) for name, _, value in (line.partition(": ") for line in lines)}
        return told["write_bytes"] - told["cancelled_write_bytes"]
    return 0


def proportional_size(process: int | Literal["self"]) -> int:
    """Octets of memory, what is shared counted in parts (PSS)."""
    return _kilobytes(f"/proc/{process}/smaps_rollup", "Pss:")


def resident_size(process: int) -> int:
    """Octets of memory now."""
    return _kilobytes(f"/proc/{process}/status", "VmRSS:")


def largest_resident_size(process: int) -> int:
    """Octets of memory at its most."""
    return _kilobytes(f"/proc/{process}/status", "VmHWM:")


def _ticks(process: int) -> int:
    with suppress(*_GONE):
        # After the name, which may hold anything: state is field 3, utime 14, cstime 17.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return sum(int(one) for one in fields[11:15])
    return 0


def _kilobytes(file: str, name: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{file} has no {name}")
