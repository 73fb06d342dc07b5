"""Sealing and unsealing a large file, beside Debian's age: seconds, and how much memory grows.

python -m benchmarks.sealing [--size 1073741824] [--rounds 5] [--directory /dev/shm]

Both programs read a file and write a file, in a process of their own, in turns. Ours is this
module, run again with --work; the memory that it needs is its largest resident size less that of a
run that seals nothing, both as the system has them (getrusage).
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from xhmtp_wsgi.protocol.sealing import Identity, seal, unseal

PIECE = 256 << 10
FACTOR_GOAL, MEMORY_GOAL = 1.5, 32 << 20


def pieces(path: Path) -> Iterator[bytes]:
    """The octets of a file."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def work(what: str, identity: Identity, source: Path, target: Path) -> None:
    """Seals or unseals a file; prints the largest resident size in octets."""
    if what == "seal":
        made = seal(pieces(source), [identity.recipient])
    else:
        made = unseal(pieces(source), [identity])
    with target.open("wb") as file:
        for piece in made:
            file.write(piece)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def timed(arguments: list[str]) -> tuple[float, str]:
    """Seconds that a program takes, and what it prints."""
    begin = time.perf_counter()
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return time.perf_counter() - begin, done.stdout


def ours(what: str, key: Path, source: Path, target: Path) -> tuple[float, int]:
    """Seconds and memory of our program."""
    module = [sys.executable, "-m", "benchmarks.sealing", "--work", what, "--key", str(key)]
    seconds, printed = timed([*module, str(source), str(target)])
    return seconds, int(printed)


def theirs(age: str, what: str, key: Path, source: Path, target: Path) -> float:
    """Seconds of age."""
    how = ["-d", "-i", str(key)]
    if what == "seal":
        how = ["-r", str(Identity.parse(key.read_text().strip()).recipient)]
    return timed([age, *how, "-o", str(target), str(source)])[0]


def compare(size: int, rounds: int, directory: Path) -> bool:
    """Prints the table; are both goals met?"""
    age = shutil.which("age")
    if age is None:
        sys.exit("Debian's age is not installed: apt-get install age")
    key, plain, empty = directory / "key.txt", directory / "plain", directory / "empty"
    key.write_text(Identity.generate().text() + "\n")
    empty.write_bytes(b"")
    block = os.urandom(1 << 20)
    with plain.open("wb") as file:
        for _ in range(size >> 20):
            file.write(block)
    sealed, opened, other = directory / "sealed", directory / "opened", directory / "other"
    met = True
    for what, source in (("seal", plain), ("unseal", sealed)):
        ours("seal", key, empty, other)
        nothing = ours("seal", key, empty, other)[1]
        if what == "unseal":
            ours("seal", key, plain, sealed)
        mine, his, memory = [], [], []
        for _ in range(rounds):
            his.append(theirs(age, what, key, source, other))
            other.unlink()
            seconds, most = ours(what, key, source, opened)
            mine.append(seconds)
            memory.append(most - nothing)
            opened.unlink()
        factor = statistics.median(mine) / statistics.median(his)
        print(
            f"{what}: ours {statistics.median(mine):.2f} s ({min(mine):.2f} to {max(mine):.2f}), "
            f"age {statistics.median(his):.2f} s ({min(his):.2f} to {max(his):.2f}), factor "
            f"{factor:.2f}; memory grows by {max(memory) / (1 << 20):.1f} MiB"
        )
        met = met and factor <= FACTOR_GOAL and max(memory) < MEMORY_GOAL
    return met


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1 << 30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--work", choices=("seal", "unseal"))
    parser.add_argument("--key", type=Path)
    parser.add_argument("files", nargs="*", type=Path)
    asked = parser.parse_args()
    if asked.work:
        work(asked.work, Identity.parse(asked.key.read_text().strip()), *asked.files)
        return
    with tempfile.TemporaryDirectory(dir=asked.directory) as directory:
        sys.exit(0 if compare(asked.size, asked.rounds, Path(directory)) else 1)


if __name__ == "__main__":
    main()
