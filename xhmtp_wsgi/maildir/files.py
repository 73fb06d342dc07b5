"""The files of a Maildir: delivered whole or not at all, and found again after being renamed.

A message is written below tmp, synced, and then renamed; a name begins with the time and the
message's ID, and a header whose body is still to come has that in its name. Whoever reads the
Maildir may move a file from new to cur, and put flags behind a colon.
"""

import fcntl
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from xhmtp_wsgi.disk import os_errors, sync_directory
from xhmtp_wsgi.errors import Malformed

STATE = ".xhmtp-fetch.db"  # the file of state.py; whoever has it locked has the Maildir
SEEN, STARRED = "S", "F"
_PARTS = ("cur", "new", "tmp")
_HEADER = "-header"
_NAME = re.compile(rf"[0-9]+\.([a-z2-7]{{26}})({_HEADER})?\.[A-Za-z0-9.-]+(?::2,([A-Za-z]*))?")


class InUse(Exception):
    """Another process is bringing messages into this Maildir."""


@dataclass(frozen=True, slots=True)
class File:
    """A message's file. ``header_only``: its body is still to come."""

    directory: Path
    name: str
    identifier: str
    header_only: bool
    flags: str

    @property
    def path(self) -> Path:
        """Where it is, unless its reader has renamed it since."""
        return self.directory / self.name

    @property
    def seen(self) -> bool:
        """Has its reader read it?"""
        return SEEN in self.flags

    @property
    def starred(self) -> bool:
        """Has its reader flagged it?"""
        return STARRED in self.flags


class Maildir:
    """A Maildir that is ours for as long as ``opened`` lasts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()) or "localhost"

    def deliver(
        self, identifier: str, when: float, octets: bytes, *, flags: str, header_only: bool = False
    ) -> File:
        """Adds a message; on disk when this returns. ``when``: seconds since the epoch.

        Raises StorageFull, or Forbidden.
        """
        name = f"{int(when)}.{identifier}{_HEADER if header_only else ''}.{self._host}"
        temporary = self._path / "tmp" / name
        file = File(
            self._path / ("cur" if flags else "new"),
            f"{name}:2,{flags}" if flags else name,
            identifier,
            header_only,
            flags,
        )
        with os_errors(self._path, exactly=True):
            try:
                _write(temporary, octets)
                temporary.rename(file.path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            sync_directory(file.directory)
        return file

    def files(self) -> Iterator[File]:
        """Our messages that are there."""
        with os_errors(self._path, exactly=True):
            for directory in (self._path / "new", self._path / "cur"):
                for entry in os.scandir(directory):
                    found = _NAME.fullmatch(entry.name)
                    if found is not None:
                        letters = found[3] or ""
                        yield File(directory, entry.name, found[1], bool(found[2]), letters)

    def set_flags(self, file: File, *, seen: bool, starred: bool) -> bool:
        """Has a file say so; false where its reader has renamed it just now, or deleted it."""
        kept = set(file.flags) - {SEEN, STARRED}
        flags = "".join(
            sorted(kept | ({SEEN} if seen else set()) | ({STARRED} if starred else set()))
        )
        name = file.name.partition(":")[0]
        try:
            file.path.rename(self._path / "cur" / f"{name}:2,{flags}")
        except FileNotFoundError:
            return False
        return True

    def remove(self, file: File) -> None:
        """Takes a file away, if it is there."""
        with suppress(FileNotFoundError):
            file.path.unlink()

    def clear_unfinished(self) -> None:
        """Takes away what a run of ours has left below tmp that was killed."""
        with os_errors(self._path, exactly=True):
            for entry in list(os.scandir(self._path / "tmp")):
                if _NAME.fullmatch(entry.name) and entry.name.endswith(f".{self._host}"):
                    (self._path / "tmp" / entry.name).unlink(missing_ok=True)


@contextmanager
def opened(path: Path) -> Iterator[Maildir]:
    """A Maildir, made where there is none, with no other process of ours at work in it.

    Raises InUse; Malformed where something else is there; Forbidden, or StorageFull.
    """
    with os_errors(path, exactly=True):
        _make(path)
        lock = os.open(path / STATE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"another fetch into {path} is at work") from None
        maildir = Maildir(path)
        maildir.clear_unfinished()
        yield maildir
    finally:
        os.close(lock)


def _make(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise Malformed(f"{path} is not a directory")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    there = {entry.name for entry in os.scandir(path)}
    if not there.issuperset(_PARTS) and not there.issubset({*_PARTS, STATE}):
        raise Malformed(f"{path} is no Maildir, and has other things in it")
    for name in _PARTS:
        (path / name).mkdir(mode=0o700, exist_ok=True)


def _write(path: Path, octets: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(descriptor)
