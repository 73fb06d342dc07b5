"""The age files of an export: sealed messages, and sealed copies of those of others, as they are.

`age -d -i KEYS sealed/ID.age` opens one for whoever has the key. The Maildirs have messages in
their place that say so: a mail program could make nothing of the octets.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from xhmtp_wsgi.transfer.directory import real_directory, write_private
from xhmtp_wsgi.transfer.layout import SEALED, FileFacts

_NAME = re.compile(r"([a-z2-7]{26}(?:-[0-9]{1,9})?)\.age")


class AgeFiles:
    """Those of a new export, in a directory of their own."""

    def __init__(self, export: Path) -> None:
        self._path = export / SEALED
        self._path.mkdir(mode=0o700)

    def add(self, name: str, octets: Iterable[bytes]) -> FileFacts:
        """Writes one; ``name``: the ID of what it is, with a number behind it for further ones."""
        return write_private(self._path / f"{name}.age", octets)


def path_of(name: str) -> str:
    """Where it is, seen from the export's directory."""
    return f"{SEALED}/{name}.age"


def age_files_by_name(export: Path) -> dict[str, Path]:
    """Those of an export; none where it is older than they are. Raises Malformed."""
    path = export / SEALED
    if not path.is_symlink() and not path.exists():
        return {}
    found = {}
    for entry in real_directory(path).iterdir():
        name = _NAME.fullmatch(entry.name)
        if name is not None:
            found[name[1]] = entry
    return found
