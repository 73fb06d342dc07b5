"""Where a benchmark's databases and queues are: a directory on a disk, which every user can enter.

TMPDIR says which disk. One in memory would make every fsync free, for us and for the peers.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def measuring_directory() -> Iterator[Path]:
    """The directory; nothing is left of it."""
    made = Path(tempfile.mkdtemp(prefix="xhmtp-bench-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
