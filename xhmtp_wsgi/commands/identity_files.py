"""The secret keys of whoever keeps them himself: files as `age-keygen` makes them.

A file is plain, or sealed with a passphrase (`age -p`), armoured or not. It is read when the
command starts; the passphrase is asked for when the first sealed message is there, and once. Where
none is named, it is the one that XHMTP_IDENTITY names, or ~/.config/xhmtp/identity.txt.

Security: a file that others may read is told of. Nothing of a key is printed or logged.
"""

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from xhmtp_wsgi.commands.asking import asked
from xhmtp_wsgi.errors import MalformedKey, NotFound, NotSealedToThese, TooLarge, XHMTPError

if TYPE_CHECKING:
    from xhmtp_wsgi.protocol.sealing import Identity

MOST = 512 << 10  # octets of a file
DEFAULT = Path("xhmtp") / "identity.txt"
HOW = "name a file of secret keys, as age-keygen makes it, with --identity or in XHMTP_IDENTITY"

_Function = TypeVar("_Function", bound=Callable[..., Any])


def identity_option(command: _Function) -> _Function:
    """Gives a command ``--identity FILE``, which may be repeated."""
    return click.option(
        "--identity", "-i", "identity", multiple=True, metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Open sealed messages with the secret keys in this file; it may be sealed with a "
        "passphrase.",
    )(command)  # fmt: skip


class IdentityFiles:
    """The keys in some files, as far as they are known yet."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Reads the files. Raises NotFound, TooLarge or MalformedKey, which name the file."""
        self._open: list[Identity] = []
        self._sealed: list[tuple[Path, bytes]] = []
        self._failure: XHMTPError | None = None
        for path in paths:
            self._read(path)

    def __bool__(self) -> bool:
        """Is there any?"""
        return bool(self._open or self._sealed)

    def identities(self) -> "tuple[Identity, ...]":
        """The keys; asks for the passphrases of those that are sealed, if it has not yet.

        Raises NoTerminal, MalformedKey or NotSealedToThese: the same each time.
        """
        if self._failure is not None:
            raise self._failure
        try:
            while self._sealed:
                path, octets = self._sealed[0]
                self._open += _unsealed(path, octets)
                del self._sealed[0]
        except XHMTPError as error:
            self._failure = error
            raise
        return tuple(self._open)

    def _read(self, path: Path) -> None:
        from xhmtp_wsgi.protocol.sealing import is_sealed

        octets = _octets(path)
        if is_sealed(octets[:200]):
            self._sealed.append((path, octets))
        else:
            self._open += _parsed(path, octets)


def identity_files(named: Sequence[Path], environ: Mapping[str, str]) -> IdentityFiles:
    """The files that are named, else those that are meant. Raises as IdentityFiles does."""
    return IdentityFiles(named or _meant(environ))


def _meant(environ: Mapping[str, str]) -> list[Path]:
    if path := environ.get("XHMTP_IDENTITY"):
        return [Path(path).expanduser()]
    default = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / DEFAULT
    return [default] if default.is_file() else []


def _octets(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            octets = file.read(MOST + 1)
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}") from None
    if len(octets) > MOST:
        raise TooLarge(f"{path}", MOST)
    if stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        click.echo(f"warning: others may read {path}; chmod 600 mends that", err=True)
    return octets


def _unsealed(path: Path, octets: bytes) -> "tuple[Identity, ...]":
    from xhmtp_wsgi.protocol.sealing import Passphrase, unseal

    passphrase = asked(f"Passphrase of {path}")
    try:
        return _parsed(path, b"".join(unseal([octets], [Passphrase(passphrase)])))
    except NotSealedToThese:
        raise NotSealedToThese(f"{path} is not opened by that passphrase") from None


def _parsed(path: Path, octets: bytes) -> "tuple[Identity, ...]":
    from xhmtp_wsgi.protocol.sealing import parse_identities

    try:
        found = parse_identities(octets.decode("utf-8"))
    except UnicodeDecodeError:
        raise MalformedKey(f"{path} is no file of secret keys") from None
    except MalformedKey as error:
        raise MalformedKey(f"{path}: {error}") from None
    if not found:
        raise MalformedKey(f"{path} has no secret key in it")
    return found
