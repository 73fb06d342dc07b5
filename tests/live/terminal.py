"""A shell at a terminal, into which tests type what the documents tell their reader to type.

It is one shell from the first line to the last: directories, variables and what runs in the
background stay. Programs find a terminal, and a password is typed when one is asked for.
"""

import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.live.servers import until

# The terminal is the shell's own, so that a program's /dev/tty is it. Commands come as files, named
# at descriptor 3; a character that nobody prints marks the end of each.
_END = b"\x1e"
_SHELL = r"""
exec < "$1"
set -E
trap 'echo "exit $? of: $BASH_COMMAND" >> "$file.failed"' ERR
while IFS= read -r -u 3 file; do
    . "$file"
    printf '\036'
done
"""
_ASKS = re.compile(rb"(password|confirmation)[^\n]*: ?$", re.IGNORECASE)
_STARTS = re.compile(r"(?:--port |--bind [\d.]+:)(\d+).*&$", re.MULTILINE)
_LINE_END = re.compile(r"\r+\n")  # one of the terminal's own, or more of what is printed
_COLOUR = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]")


@dataclass(frozen=True)
class Ran:
    """What the terminal shows after some commands, and what failed: ``exit 1 of: false``.

    ``asked``: a password was asked for, and typed.
    """

    shown: str
    failed: str
    asked: bool


class Terminal:
    """The terminal, with the shell in it. Ends with all that it has started."""

    def __init__(self, directory: Path, environment: Mapping[str, str], password: str) -> None:
        """``password``: what is typed wherever one is asked for."""
        self._blocks = Path(tempfile.mkdtemp(dir=directory.parent))
        self._password = password.encode() + b"\n"
        self._written = b""
        self._answered = 0  # how much had been written at the last answer
        self._keyboard, terminal = pty.openpty()
        commands, self._commands = os.pipe()
        try:
            self._shell = subprocess.Popen(
                ["bash", "--norc", "-c", f"exec 3<&{commands} {commands}<&-\n{_SHELL}", "bash",
                 os.ttyname(terminal)],
                cwd=directory, env=dict(environment), pass_fds=(commands,),
                stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal,
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(commands)
            os.close(terminal)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def directory(self) -> Path:
        """Where the shell is."""
        return Path(f"/proc/{self._shell.pid}/cwd").readlink()

    def run(self, commands: str, seconds: float = 300.0) -> Ran:
        """Types commands, waits for their end, and for the servers that they start to answer."""
        block = Path(tempfile.mkstemp(dir=self._blocks)[1])
        block.write_text(commands)
        start = len(self._written)
        os.write(self._commands, f"{block}\n".encode())
        until(lambda: self._written.endswith(_END, start), commands, seconds)
        for port in _STARTS.findall(commands):
            until(lambda port=port: _listens(int(port)), commands)  # type: ignore[misc]
        failed = block.with_suffix(".failed")
        return Ran(
            _as_shown(self._written[start:].removesuffix(_END)),
            failed.read_text() if failed.exists() else "",
            self._answered > start,
        )

    def close(self) -> None:
        """Ends the shell and whatever it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGTERM)
        os.close(self._commands)
        self._shell.wait(timeout=30)
        self._reader.join(timeout=30)
        os.close(self._keyboard)

    def _read(self) -> None:
        with suppress(OSError):  # the terminal is gone when the last who had it is
            while piece := os.read(self._keyboard, 65536):
                self._written += piece
                if _ASKS.search(self._written, self._answered):
                    self._answered = len(self._written)
                    os.write(self._keyboard, self._password)


def save(terminal: Terminal, name: str, text: str) -> None:
    """Saves a file where the shell is, as an editor does."""
    ran = terminal.run(f"mkdir -p {shlex.quote(str(Path(name).parent))}")
    assert not ran.failed
    (terminal.directory / name).write_text(text)


def _as_shown(written: bytes) -> str:
    """What stands on the screen: without colours, and each line as it was last written over."""
    text = _LINE_END.sub("\n", _COLOUR.sub("", written.decode(errors="replace")))
    return "\n".join(line.rpartition("\r")[2] for line in text.split("\n"))


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
