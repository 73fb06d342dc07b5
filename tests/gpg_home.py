"""Debian's gpg with a keyring of its own, as the oracle for OpenPGP keys and signed mail."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.live.servers import need


@dataclass(frozen=True)
class GPGHome:
    """A keyring; ``before``: what gpg is started with, such as a namespace."""

    directory: Path
    before: tuple[str, ...] = ()

    def run(
        self, *arguments: str, given: bytes = b"", fails: bool = False
    ) -> "subprocess.CompletedProcess[bytes]":
        """Runs gpg, which asks for nothing."""
        done = subprocess.run(
            [*self.before, need("gpg"), "--homedir", str(self.directory), "--batch", "--no-tty",
             "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", *arguments],
            input=given, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stderr.decode(errors="replace")
        return done

    def make_key(self, user_id: str, *, algorithm: str = "default", usage: str = "default") -> str:
        """Makes a key without a passphrase; its fingerprint."""
        self.run("--quick-generate-key", user_id, algorithm, usage, "never")
        return self.fingerprints(user_id)[-1]

    def fingerprints(self, which: str) -> list[str]:
        """Those of the primary keys that gpg finds by this."""
        listed = self.run("--with-colons", "--list-keys", which).stdout.decode().splitlines()
        return [after.split(":")[9] for line, after in pairwise(listed) if line.startswith("pub:")]

    def export(self, which: str, *options: str) -> bytes:
        """A public key."""
        return self.run(*options, "--export", which).stdout


@contextmanager
def gpg_home(before: tuple[str, ...] = ()) -> Iterator[GPGHome]:
    """An empty keyring; what gpg has started for it is ended."""
    need("gpg")
    # A short path: gpg's sockets are in it, and a socket's path has 107 octets at most.
    directory = Path(tempfile.mkdtemp(prefix="gpg-"))
    try:
        yield GPGHome(directory, before)
    finally:
        subprocess.run(
            [need("gpgconf"), "--homedir", str(directory), "--kill", "all"],
            check=False, capture_output=True, timeout=60,
        )  # fmt: skip
        shutil.rmtree(directory, ignore_errors=True)
