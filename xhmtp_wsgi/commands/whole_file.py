"""A file that is there whole, or not at all.

What is written has no name before it is whole: a process that is killed leaves nothing behind. On a
file system that has no files without a name it has one that begins with a dot, and that stays where
the process is killed.

Security: the file is its owner's alone, from its first octet on.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from xhmtp_wsgi.disk import os_errors, sync_directory
from xhmtp_wsgi.errors import Duplicate


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to be written; when this ends well it is at ``path``, on disk.

    What is there is replaced. Raises Duplicate where something is there that is no file,
    StorageFull or Forbidden; then what was there is there still.
    """
    with os_errors(path):
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise Duplicate(f"{path} is there, and is no file that could be replaced")
        temporary = path.with_name(f".xhmtp-{secrets.token_hex(8)}")
        try:
            with _opened(temporary) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if not temporary.exists():
                    _give_name(file, temporary)
                temporary.rename(path)
            sync_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _opened(temporary: Path) -> BinaryIO:
    """A new file: without a name, or with that one where there are none without."""
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary.parent, flags | os.O_TMPFILE, 0o600)
    except OSError as error:
        # Older systems take it for the directory, which cannot be written.
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
            raise
        descriptor = os.open(temporary, flags | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "w+b")


def _give_name(file: BinaryIO, name: Path) -> None:
    """Gives a file without a name one (open(2), O_TMPFILE)."""
    directory = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Named from a directory: else Python's link() does not follow what stands for the file.
        os.link(str(file.fileno()), name, src_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)
