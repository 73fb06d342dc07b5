"""On which machine, with which programs, was it measured? A line for the page."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PROGRAMS = {
    "Postfix": ["postconf", "-hd", "mail_version"],
    "nginx": ["nginx", "-v"],
    "PostgreSQL": ["psql", "--version"],
}
PACKAGES = ("gunicorn", "SQLAlchemy", "urllib3")


def description() -> str:
    """One sentence."""
    return (
        f"Measured on {datetime.now(UTC):%d %B %Y} on {os.cpu_count()} cores ({_processor()}), "
        f"Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}; "
        + ", ".join([*_programs(), *(f"{name} {version(name)}" for name in PACKAGES)])
        + "."
    )


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.machine()


def _programs() -> list[str]:
    found = []
    path = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin"}
    for name, command in PROGRAMS.items():
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=path, check=False)
        except FileNotFoundError:
            continue
        number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        if number:
            found.append(f"{name} {number[0]}")
    return found
