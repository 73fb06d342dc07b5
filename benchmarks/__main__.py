"""All that issue 8 measures, side by side with its peers: `make bench`, or a row of it.

make bench                                   every row; writes docs/performance.md and its plots
make bench ARGS="--row 3"                    one row; the others stay as they were measured
make bench ARGS="--row 3 --rounds 9 --dry"   nothing is written
make bench ARGS=--quick                      small sizes: does it run? Nothing is written

Each row runs in a process of its own (`python -m benchmarks.ROW` runs it alone). What is missing is
said, with the package to install, and the other rows go on. What was measured is kept in
benchmarks/measured.json, from which table and plots are made, and which a model can read.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import performance_page
from benchmarks.command import add_options
from benchmarks.figures import Found
from benchmarks.table import as_text

ROWS = {
    1: "delivery_rate",
    2: "large_message",
    3: "receiving",
    4: "notifier_throughput",
    5: "fetching",
    6: "feeds",
    7: "memory",
    8: "middleware_overhead",
}


def measured(row: int, options: list[str]) -> Found:
    """What a row finds, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "found.json"
        command = [sys.executable, "-m", f"benchmarks.{ROWS[row]}", "--json", str(file), *options]
        sys.stderr.write(f"row {row}: {' '.join(command[1:3])}\n")
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode or not file.exists():
            last = done.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
            sys.stderr.write(done.stderr)
            return Found(row, ROWS[row], missing=(f"it failed: {last[0]}",))
        return Found.from_json(file.read_text())


def main() -> None:
    """Measures, prints, writes; exit 1 where a row failed or was not measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--row", type=int, action="append", choices=ROWS, help="only this one")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    add_options(parser)
    given = parser.parse_args()
    options = ["--rounds", str(given.rounds)] + (["--quick"] if given.quick else [])
    found = []
    for row in given.row or ROWS:
        found.append(measured(row, options))
        sys.stdout.write(as_text(found[-1:]))
        sys.stdout.flush()
    if not (given.quick or given.dry):
        for line in performance_page.write(found):
            sys.stdout.write(line + "\n")
    sys.exit(1 if any(one.missing for one in found) else 0)


if __name__ == "__main__":
    main()
