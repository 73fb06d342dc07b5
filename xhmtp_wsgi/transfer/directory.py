"""The files of an export: written for their owner alone and whole, read with suspicion.

An export has its name only once everything in it is on the disk: until then it stands beside it
under a name that begins with a dot.

Security: what is read may be of anybody's making. No link is followed, nothing but a plain file is
opened, and lines, objects and numbers have bounds.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from xhmtp_wsgi.disk import os_errors, sync_directory
from xhmtp_wsgi.errors import Duplicate, Malformed, NotFound
from xhmtp_wsgi.transfer.layout import FileFacts

MAX_OBJECT = 64 << 20  # octets of a file that holds one object


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A directory to write to, which becomes ``path`` when all is well, and is gone otherwise.

    Raises Duplicate where ``path`` is there already, NotFound, StorageFull, or Forbidden.
    """
    if os.path.lexists(path):
        raise Duplicate(f"{path} is there already; nothing is written over")
    if not path.parent.is_dir():
        raise NotFound(f"{path.parent} is no directory")
    with os_errors_of(path):
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
            # Everything at once: a call for each of many small files would take minutes.
            os.sync()
            temporary.rename(path)
            sync_directory(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def write_private(path: Path, octets: Iterable[bytes]) -> FileFacts:
    """Writes a new file that only its owner may read."""
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for piece in octets:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    return FileFacts(size, digest.hexdigest())


def write_object(path: Path, value: Mapping[str, Any]) -> FileFacts:
    """Writes a JSON file for people and programs."""
    return write_private(path, [json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"])


def write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> FileFacts:
    """Writes JSON Lines: an object a line."""
    return write_private(path, (json.dumps(value).encode() + b"\n" for value in values))


def read_object(path: Path, facts: FileFacts | None) -> dict[str, Any]:
    """The object in a JSON file; ``facts``: as the manifest has them. Raises Malformed."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_OBJECT:
            raise Malformed(f"{path.name} is larger than {MAX_OBJECT} octets")
        octets = file.read(size)
    if facts is not None and FileFacts(len(octets), hashlib.sha256(octets).hexdigest()) != facts:
        raise_changed(path)
    return _object(octets, path.name)


def read_lines(path: Path, facts: FileFacts, longest: int) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON Lines, none longer than ``longest`` octets.

    Raises Malformed, at the end where the file is not as the manifest has it.
    """
    digest, size = hashlib.sha256(), 0
    with opened(path) as file:
        while line := file.readline(longest + 1):
            size += len(line)
            if len(line) > longest or size > facts.octets:
                raise_changed(path)
            digest.update(line)
            yield _object(line, path.name)
    if FileFacts(size, digest.hexdigest()) != facts:
        raise_changed(path)


def raise_changed(path: Path) -> NoReturn:
    """Says that a file is not the one that the export wrote."""
    raise Malformed(f"{path.name} was changed or cut off since it was exported")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A plain file to read from. Raises NotFound, Malformed or Forbidden."""
    with os_errors_of(path):
        # Not to wait: what stands there may be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Malformed(f"{path.name} is not a plain file")
            yield file


def real_directory(path: Path) -> Path:
    """The same path, if a directory is there and not a link to one. Raises Malformed."""
    with os_errors_of(path):
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise Malformed(f"{path.name} is not a directory")
    return path


@contextmanager
def os_errors_of(path: Path) -> Iterator[None]:
    """Turns the system's errors into ours: NotFound, Malformed, StorageFull or Forbidden."""
    with os_errors(path, exactly=True):
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"{error.filename or path}: {error.strerror}") from None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Malformed(f"{path.name} is a link; an export has none") from None
            raise


def _object(octets: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(octets, parse_constant=_refuse, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Malformed(f"{name} has what is no JSON") from None
    if not isinstance(value, dict):
        raise Malformed(f"{name} has what is no object")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found
