"""Which modules cost how much memory: in an idle worker, in the notifier, and for each view.

python -m benchmarks.import_cost [--depth 1] [--most 20]

Each list is made by a Python of its own. A module's cost is what the process (PSS, of smaps_rollup)
grows by while it is imported, less what those grow it by that it imports itself; the sums are by
package, ``--depth`` names deep. A worker's list has only what XHMTP adds to gunicorn with a Flask
site; a view's only what it adds to such a worker and to the views above it.
"""

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ExtensionFileLoader, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.process_tree import proportional_size

KB = 1e3
SETTINGS = {
    "database": "sqlite:///:memory:",
    "domain": {"a.test": {"agent": "http://a.test", "prefix": "xhmtp"}},
}


@contextmanager
def noting(found: Counter[str]) -> Iterator[None]:
    """Adds the octets of whatever is imported meanwhile, by module."""
    inner: list[int] = []  # what was imported by each module that is not done yet

    def load(real: Any, loader: Any, module: ModuleType) -> None:
        before = proportional_size("self")
        inner.append(0)
        try:
            real(loader, module)
        finally:
            grown = proportional_size("self") - before
            found[module.__name__] += grown - inner.pop()
            if inner:
                inner[-1] += grown

    kinds: tuple[Any, ...] = (SourceFileLoader, ExtensionFileLoader)
    real = [kind.exec_module for kind in kinds]
    for kind, one in zip(kinds, real, strict=True):
        kind.exec_module = lambda loader, module, one=one: load(one, loader, module)
    try:
        yield
    finally:
        for kind, one in zip(kinds, real, strict=True):
            kind.exec_module = one


def worker() -> Counter[str]:
    """What XHMTP adds to a gunicorn worker with a Flask site, as long as nobody asks for it."""
    for name in ("gunicorn.app.wsgiapp", "gunicorn.workers.gthread"):
        import_module(name)
    without = import_module("benchmarks.flask_site").without
    site = without()
    found: Counter[str] = Counter()
    with noting(found):
        import_module("xhmtp_wsgi").XHMTP(site, SETTINGS)
    return found


def notifier() -> Counter[str]:
    """The whole of the notifier, with what signs."""
    found: Counter[str] = Counter()
    with noting(found):
        import_module("xhmtp_wsgi.commands.notify")
        import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    return found


def views() -> list[tuple[str, int, float]]:
    """The views' modules, in their order: octets that each adds, and the seconds that it takes."""
    worker()
    from xhmtp_wsgi.middleware import BOTH
    from xhmtp_wsgi.wing import LateView

    named = [one for methods in BOTH.values() for one in methods.values()]
    found = []
    for name in dict.fromkeys(
        one.name.partition(":")[0] for one in named if isinstance(one, LateView)
    ):
        before, begun = proportional_size("self"), time.perf_counter()
        import_module(name)
        seconds = time.perf_counter() - begun
        found.append((name, proportional_size("self") - before, seconds))
    return found


def by_package(found: Counter[str], depth: int) -> Counter[str]:
    """The sums of packages."""
    sums: Counter[str] = Counter()
    for name, octets in found.items():
        sums[".".join(name.split(".")[:depth])] += octets
    return sums


def show(what: str, depth: int, most: int) -> None:
    """Prints one list."""
    if what == "views":
        print("views, each added to the worker and to those above it: kB, ms at its first request")
        for name, octets, seconds in views():
            print(f"{octets / KB:8,.0f} {seconds * 1000:6.0f}  {name}")
        return
    found = {"worker": worker, "notifier": notifier}[what]()
    print(f"{what}: {found.total() / KB:,.0f} kB in {len(found)} modules")
    sums = by_package(found, depth)
    for name, octets in sums.most_common(most):
        print(f"{octets / KB:8,.0f}  {name}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs this program again for each list, so that none has what another has imported."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=1, help="how many names of a module count")
    parser.add_argument("--most", type=int, default=20, help="how many packages are listed")
    parser.add_argument("--one", choices=["worker", "notifier", "views"], help="this list alone")
    given = parser.parse_args(arguments)
    if given.one:
        show(given.one, given.depth, given.most)
        return
    for what in ("worker", "notifier", "views"):
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.import_cost", "--one", what,
             "--depth", str(given.depth), "--most", str(given.most)],
            check=True, cwd=Path(__file__).parents[1],
        )  # fmt: skip


if __name__ == "__main__":
    main()
