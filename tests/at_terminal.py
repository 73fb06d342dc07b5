"""A command of ours at a terminal, with what it asks for typed; what it prints goes to a file."""

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CODE = "from xhmtp_wsgi.commands.xhmtp import main; main()"


@dataclass(frozen=True)
class Done:
    """How it ended: ``screen`` is what was asked and complained of, ``printed`` standard output."""

    code: int
    screen: str
    printed: bytes


def at_terminal(
    directory: Path, *arguments: str, typed: str, environment: Mapping[str, str] | None = None
) -> Done:
    """Runs xhmtp; each question that ends with a colon is answered with ``typed``."""
    keyboard, terminal = pty.openpty()
    printed = directory / "printed"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, *arguments],
            stdin=terminal, stdout=output, stderr=terminal, start_new_session=True, cwd=directory,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), **(environment or {})},
        )  # fmt: skip
    os.close(terminal)
    shown = b""
    try:
        with suppress(OSError):  # the terminal is gone with the process
            while piece := os.read(keyboard, 65536):
                shown += piece
                if shown.endswith(b": "):
                    os.write(keyboard, f"{typed}\n".encode())
        return Done(process.wait(timeout=60), shown.decode(), printed.read_bytes())
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)
