"""A Maildir: a file for each message, as mutt, notmuch, Dovecot and Python's mailbox read it.

The name of a file begins with the time and the message's ID; a reader may move it from ``new`` to
``cur`` and add flags behind a colon, and it is still found.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from xhmtp_wsgi.transfer.directory import real_directory, write_private
from xhmtp_wsgi.transfer.layout import FileFacts

_NOT_IN_FOLDERS = re.compile(r"[\x00-\x1f\x7f/.]")
_NAME = re.compile(r"[0-9]+\.([a-z2-7]{26})\.[A-Za-z0-9.-]+(?::2,[A-Za-z]*)?")


class MaildirWriter:
    """A new Maildir."""

    def __init__(self, path: Path, host: str) -> None:
        """``host``: the last part of its files' names."""
        self._path = path
        self._host = host
        self._folders: dict[str, MaildirWriter] = {}
        for directory in (path, path / "cur", path / "new", path / "tmp"):
            directory.mkdir(mode=0o700)

    def folder(self, name: str) -> "MaildirWriter":
        """A folder of it, as Maildir++ has them: a directory whose name begins with a dot.

        A dot in the name, which would be a folder in a folder, becomes an underscore.
        """
        directory = "." + _NOT_IN_FOLDERS.sub("_", name)
        if directory not in self._folders:
            self._folders[directory] = MaildirWriter(self._path / directory, self._host)
            write_private(self._path / directory / "maildirfolder", [])
        return self._folders[directory]

    def add(self, identifier: str, when: float, octets: Iterable[bytes], flags: str) -> FileFacts:
        """Adds a message; ``when``: seconds since the epoch, also the time of its file.

        ``flags``: as Maildir has them, such as S for what was seen; new is what has none.
        """
        name = f"{int(when)}.{identifier}.{self._host}"
        path = self._path / "cur" / f"{name}:2,{flags}" if flags else self._path / "new" / name
        facts = write_private(path, octets)
        os.utime(path, (when, when))
        return facts


def files_by_identifier(path: Path) -> dict[str, Path]:
    """The files of a Maildir's messages by ID, in folders too. Raises Malformed where it is none.

    What is moved from one to the other by a mail program is there still.
    """
    found = {}
    for maildir in (real_directory(path), *_folders(path)):
        for directory in (maildir / "new", maildir / "cur"):
            for entry in os.scandir(real_directory(directory)):
                name = _NAME.fullmatch(entry.name)
                if name is not None:
                    found[name[1]] = directory / entry.name
    return found


def _folders(path: Path) -> list[Path]:
    """Its folders; what else mail programs put there is passed over."""
    return [
        below
        for below in sorted(path.iterdir())
        if below.name.startswith(".")
        and not below.is_symlink()
        and (below / "new").is_dir()
        and (below / "cur").is_dir()
    ]
