"""Where the time of our processes goes: py-spy's samples, by function.

python -m benchmarks.profiles [--load delivery] [--messages 2000] [--recipients 1] [--gil]

``delivery``: the load of row 1; a profile of the sender's workers (injection), of the notifier, and
of the recipient's workers (receiver). ``fetch``: a message of 4 KiB is fetched again and again; a
profile of the sender's workers. Each line has a function, and in per cent of that process's samples
how often it was on top of the stack (self), and anywhere in it (total). Without --gil all threads
that are not idle are sampled, also those that wait for the disk or a lock within a call; with it
only those that run Python, which shows what the processor is at. Before these a line tells how much
is within SQLAlchemy, by what it is at. Needs py-spy (pip install py-spy), and root.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.delivery_rate import ours
from benchmarks.fetching import put_ours
from benchmarks.measuring_directory import measuring_directory
from benchmarks.two_sites import TwoSites, add_recipients, two_sites
from benchmarks.written_messages import message

RATE = 250  # samples a second
BIN = Path(sys.executable).parent
# What a stack within SQLAlchemy is at: the first that is found in it.
_AT = (
    ("cache keys", re.compile(r"_gen(erate)?_cache_key")),
    ("the driver", re.compile(r"\bdo_(execute|commit|rollback|begin)")),
    ("executing", re.compile(r"_execute|_exec_")),
    ("connections", re.compile(r"connect|begin|close|commit|__exit__", re.IGNORECASE)),
    ("building statements", re.compile(r"")),
)


@dataclass
class Samples:
    """How often each function was seen."""

    total: int = 0
    alone: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)
    in_sqlalchemy: Counter[str] = field(default_factory=Counter)

    def add(self, folded: str) -> None:
        """Takes in py-spy's raw output: a line for each stack, and how often it was seen."""
        for line in folded.splitlines():
            stack, _, told = line.rpartition(" ")
            frames, count = [_function(frame) for frame in stack.split(";")], int(told)
            self.total += count
            self.alone[frames[-1]] += count
            for frame in set(frames):
                self.whole[frame] += count
            within = "\n".join(frame for frame in frames if "sqlalchemy/" in frame)
            if within:
                at = next(name for name, pattern in _AT if pattern.search(within))
                self.in_sqlalchemy[at] += count

    def show(self, name: str, top: int) -> None:
        """Prints what costs most: by itself, and of our own functions with what they call."""
        print(f"\n{name}: {self.total:,} samples")
        if not self.total:
            return
        parts = ", ".join(
            f"{what} {count / self.total:.0%}" for what, count in self.in_sqlalchemy.most_common()
        )
        print(f"within SQLAlchemy: {self.in_sqlalchemy.total() / self.total:.0%} ({parts})")
        print(f"{'self':>7} {'total':>7}")
        for frame, _ in self.alone.most_common(top):
            self._show(frame)
        print("   of our own, with all that they call:")
        for frame in [one for one, _ in self.whole.most_common() if "xhmtp_wsgi/" in one][
            : top * 2
        ]:
            self._show(frame)

    def _show(self, frame: str) -> None:
        alone, whole = self.alone[frame] / self.total, self.whole[frame] / self.total
        print(f"{alone:7.1%} {whole:7.1%}  {frame}")


def _function(frame: str) -> str:
    """Without the line, which would divide a function into many."""
    name, _, place = frame.partition(" (")
    return f"{name} ({place.rpartition(':')[0] or place.rstrip(')')})"


@contextmanager
def sampled(processes: dict[str, int], directory: Path, *options: str) -> Iterator[None]:
    """Samples these processes while the block runs; one file for each, of folded stacks."""
    spy = shutil.which("py-spy", path=str(BIN)) or shutil.which("py-spy")
    if spy is None:
        sys.exit("there is no py-spy: pip install py-spy")
    running = [
        subprocess.Popen(
            [spy, "record", "-f", "raw", "-r", str(RATE), "-d", "3600", *options,
             "-p", str(process), "-o", str(directory / f"{name}.folded")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for name, process in processes.items()
    ]  # fmt: skip
    try:
        yield
    finally:
        for one in running:
            one.send_signal(signal.SIGINT)
            one.wait(timeout=60)


def delivery(sites: TwoSites, given: argparse.Namespace, directory: Path) -> list[str]:
    """Row 1's load; the names of the profiles."""
    people = [f"user{number}@b.test" for number in range(given.recipients)]
    add_recipients(sites, people)
    sites.start_notifier()
    ours(sites, 100, people[:1])  # what is done once only
    assert sites.notifier is not None
    processes = {"notifier": sites.notifier.pid}
    for name, server in (("injection", sites.a), ("receiver", sites.b)):
        for number, worker in enumerate(server.workers()):
            processes[f"{name}-{number}"] = worker
    with sampled(processes, directory, *_options(given)):
        run = ours(sites, given.messages, people)
        sites.go_on()
    print(f"{run.rate:.0f} deliveries/s, {run.processor:.2f} s of processor for 1,000")
    return ["injection", "notifier", "receiver"]


def fetch(sites: TwoSites, given: argparse.Namespace, directory: Path) -> list[str]:
    """Row 5's load at 4 KiB; the names of the profiles."""
    fetched = put_ours(sites, message(["bob@b.test"], 4096))
    fetched.small(directory, 1)
    workers = {f"fetch-{number}": pid for number, pid in enumerate(sites.a.workers())}
    with sampled(workers, directory, *_options(given)):
        rate = fetched.small(directory, 10)
    print(f"{rate:.0f} messages/s")
    return ["fetch"]


def _options(given: argparse.Namespace) -> list[str]:
    return ["--gil"] if given.gil else []


def main() -> None:
    """Reads the options, runs, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--load", choices=("delivery", "fetch"), default="delivery")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--recipients", type=int, default=1)
    parser.add_argument("--top", type=int, default=15)
    parser.add_argument("--gil", action="store_true", help="only what runs Python")
    parser.add_argument("--keep", type=Path, help="a directory for the folded stacks")
    given = parser.parse_args()
    with measuring_directory() as directory, two_sites(directory / "ours") as sites:
        folded = given.keep or directory
        names = (delivery if given.load == "delivery" else fetch)(sites, given, folded)
        for name in names:
            samples = Samples()
            for file in sorted(folded.glob(f"{name}*.folded")):
                samples.add(file.read_text())
            samples.show(name, given.top)


if __name__ == "__main__":
    main()
