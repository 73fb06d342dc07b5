"""All log output of the whole suite, searched at its end for what must never be in it.

Every process of the tests writes its log records into one directory, and so do the real servers and
commands that they start. What looks like an access code or a token, a password that the tests use,
credentials, or the text of a message fails the run.
"""

import logging
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "XHMTP_TEST_LOGS"

FORBIDDEN = {
    # Codes and tokens are 32 letters and digits of base 32; message IDs, which may be, are 26.
    "an access code or token": re.compile(r"(?<![A-Za-z0-9])[a-z2-7]{32}(?![A-Za-z0-9])"),
    "a password": re.compile(r"wonderland|builder|s3cret", re.IGNORECASE),
    "a code of a test's own": re.compile(r"S3CRETC0DE|SECRETCODE|ThisIsTheSecretCode"),
    "credentials": re.compile(r"\bBasic [A-Za-z0-9+/=]{8,}"),
    "the text of a message": re.compile(
        r"Dear Bob|look under the stairs|no mail server has seen this"
    ),
}


def begin() -> None:
    """Makes the directory; the processes that are started from here on find it."""
    os.environ.setdefault(VARIABLE, tempfile.mkdtemp(prefix="xhmtp-logs-"))


def listen() -> logging.Handler:
    """Writes all records of this process there."""
    handler = logging.FileHandler(_file("records"), encoding="utf-8", delay=True)
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("xhmtp_wsgi").setLevel(logging.DEBUG)
    return handler


def keep(text: str) -> None:
    """Keeps what a server or a command of ours has logged."""
    if VARIABLE in os.environ and text:
        _file("output").write_text(text, encoding="utf-8", errors="replace")


def found() -> tuple[int, list[str]]:
    """How many lines there were, and what is in them that must not be."""
    lines, wrong = 0, []
    for file in sorted(Path(os.environ[VARIABLE]).iterdir()):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            lines += 1
            wrong += [f"{what}: {line[:300]}" for what in secrets_in(line)]
    return lines, wrong


def secrets_in(line: str) -> Iterator[str]:
    """What of a line must not be in a log."""
    for what, pattern in FORBIDDEN.items():
        if pattern.search(line):
            yield what


def end() -> None:
    """Removes the directory."""
    shutil.rmtree(os.environ.pop(VARIABLE), ignore_errors=True)


def _file(kind: str) -> Path:
    return Path(os.environ[VARIABLE]) / f"{kind}-{os.getpid()}-{uuid.uuid4().hex[:8]}.txt"
