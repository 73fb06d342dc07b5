"""Files of people's own on the disk: there for good, and the system's errors told as ours."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xhmtp_wsgi.errors import Forbidden, StorageFull

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def sync_directory(directory: Path) -> None:
    """Has the names in a directory be there after a crash, as they are now. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def os_errors(where: str | Path, *, exactly: bool = False) -> Iterator[None]:
    """Turns the system's errors into StorageFull or Forbidden, which say where.

    ``exactly``: they name the file that the system names, where it does. A BrokenPipeError stays:
    whoever reads standard output has enough.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull(f"there is no room left for {where}") from None
        named = error.filename if exactly else None
        raise Forbidden(f"{named or where}: {error.strerror}") from None
