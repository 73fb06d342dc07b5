"""`xhmtp key generate`: a new age identity in a file of its owner's, and the public half published.

The file has the form of age-keygen's; with a passphrase it is an age file, which `age -d` opens and
`age -d -i` takes as it is.

Security: the secret goes into that file and nowhere else. It is on disk before anybody can seal to
it, and nothing is ever written over.
"""

import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.commands.person_keys import person, seal_to
from xhmtp_wsgi.disk import os_errors, sync_directory
from xhmtp_wsgi.errors import DatabaseUnavailable, Duplicate, Permanent, Transient
from xhmtp_wsgi.protocol.sealing import Identity, armoured, seal_with_passphrase


def generate(
    agent: Agent,
    address: str,
    path: Path,
    *,
    post_quantum: bool,
    passphrase: Callable[[], str] | None,
    replace: bool,
) -> Iterator[str]:
    """Makes a key, writes it down and publishes it; what is to be said of it.

    ``passphrase``: asks for what seals the file, or None. Raises Duplicate where ``path`` is there,
    Forbidden where it cannot be written, or as ``person_keys.add`` does: then there is no file.
    """
    endpoint = person(agent, address)
    if os.path.lexists(path):
        raise _is_there(path)
    identity = Identity.generate(post_quantum=post_quantum)
    _write(path, _file(identity, agent.clock(), None if passphrase is None else passphrase()))
    try:
        told = list(seal_to(agent, endpoint, [identity.recipient], replace=replace))
    except Permanent:
        # It was not published: nobody needs it.
        path.unlink()
        raise
    except Transient as error:
        raise DatabaseUnavailable(
            f"{error}; the secret key is in {path}, and 'xhmtp key list {endpoint}' tells whether "
            "it is published"
        ) from None
    yield f"the secret key is in {path}: keep a copy, as nothing else opens what is sealed to it"
    yield from told


def asked_passphrase() -> str:
    """What is typed twice at a terminal, or one line of standard input. Raises click.UsageError."""
    if sys.stdin.isatty():
        found = str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True))
    else:
        found = sys.stdin.readline().rstrip("\r\n")
    if not found:
        raise click.UsageError("the passphrase is empty; --no-passphrase leaves the file open")
    return found


def _file(identity: Identity, now: float, passphrase: str | None) -> bytes:
    made = datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z")
    text = f"# created: {made}\n# public key: {identity.recipient}\n{identity.text()}\n".encode()
    if passphrase is None:
        return text
    return b"".join(armoured(seal_with_passphrase([text], passphrase)))


def _write(path: Path, octets: bytes) -> None:
    """A new file, its owner's alone, on disk with its name.

    Raises Duplicate, StorageFull or Forbidden; then there is none that was not there.
    """
    with os_errors(path):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise _is_there(path) from None
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            sync_directory(path.parent)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def _is_there(path: Path) -> Duplicate:
    return Duplicate(f"{path} is there already, and nothing is written over")
