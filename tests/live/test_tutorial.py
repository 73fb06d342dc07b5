"""What README.md and docs/tutorial.md tell their reader to type, typed: block by block, in order.

In an empty home and a clean environment, at a terminal, with a copy of this work tree for the
clone. What is printed must be what is shown. Only ports are others, as these may be taken.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from demonstration.name_server import NameServer
from tests.documents import ROOT, Block, fenced
from tests.live.servers import AgentServer, free_port, need, running
from tests.live.terminal import Terminal, save
from tests.shown import Likeness
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("tutorial")]

TUTORIAL = "docs/tutorial.md"
SHOWN_CLONE = "/home/you/xhmtp_wsgi"
PASSWORD = "a password that was typed"
MESSAGE = "From: you@example.org\nTo: friend@example.net\nSubject: Hello\n\nDear Friend\n"
_NO_PYPI = re.compile(r"Failed to establish a new connection|[Nn]ame resolution")
_FILE = re.compile(r"# (\S+\.\w+)\n")


class Reader:
    """Somebody who does what a document tells him, at one terminal."""

    def __init__(self, terminal: Terminal, instead: Mapping[str, str]) -> None:
        """``instead``: what he writes, and reads, in place of what stands in the document."""
        self.terminal = terminal
        self._instead = instead
        self._likeness = Likeness()
        self.shown = ""
        self.compared = 0

    def follow(self, blocks: list[Block]) -> None:
        """Types commands, saves files, and compares what is shown after commands."""
        for block in blocks:
            if block.not_run:
                continue
            if block.language == "sh":
                self._type(block.text)
            elif block.language == "text":
                self._likeness.compare(block.text, self.shown)
                self.compared += 1
            else:
                name = _FILE.match(block.text)
                assert name, f"which file is this?\n{block.text}"
                save(self.terminal, name[1], self._replaced(block.text))

    def _type(self, commands: str) -> None:
        ran = self.terminal.run(self._replaced(self._likeness.in_command(commands)))
        assert not ran.failed, f"{commands}\n{ran.failed}\n{ran.shown}\n{self._logs()}"
        # Whoever pastes more lines gives them to the question for a password.
        assert not ran.asked or "\n" not in commands.replace("\\\n", "").strip(), commands
        self.shown = ran.shown
        for here, there in self._instead.items():
            self.shown = re.sub(rf"\b{re.escape(there)}\b", here, self.shown)

    def _logs(self) -> str:
        """The last words of the servers that were started here."""
        logs = self.terminal.directory.glob("*.log")
        return "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in logs)

    def _replaced(self, text: str) -> str:
        for here, there in self._instead.items():
            text = re.sub(rf"\b{re.escape(here)}\b", there, text)
        return text


def copy_of_the_work_tree(to: Path) -> None:
    """What a fresh clone would hold, once all is committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def environment(home: Path) -> dict[str, str]:
    """What a login has, and what this machine tells pip; ``python3`` is the Python of the tests."""
    save_python(home / "bin" / "python3", sys._base_executable)  # type: ignore[attr-defined]
    return {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PIP_NO_COMPILE": "1",  # quicker; what is imported is compiled all the same
        "PATH": f"{home}/bin:/usr/local/bin:/usr/bin:/bin",
        "TERM": "xterm",
        **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
    }


def save_python(path: Path, python: str) -> None:
    """A program that is a Python."""
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    path.chmod(0o755)


@dataclass
class Tutorial:
    """A reader who has followed the tutorial as far as the installation."""

    directory: Path
    reader: Reader
    left: list[Block]

    @property
    def clone(self) -> Path:
        return self.directory / "xhmtp_wsgi"


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tutorial]:
    need("curl")
    directory = tmp_path_factory.mktemp("tutorial")
    clone = directory / "xhmtp_wsgi"
    copy_of_the_work_tree(clone)
    ports = {port: str(free_port()) for port in ("5300", "8000", "8001")}
    terminal = Terminal(clone, environment(directory / "home"), PASSWORD)
    try:
        reader = Reader(terminal, {**ports, SHOWN_CLONE: str(clone)})
        blocks = fenced(TUTORIAL)
        last = next(i for i, block in enumerate(blocks) if "pip install" in block.text)
        try:
            reader.follow(blocks[: last + 1])
        except AssertionError as error:
            if _NO_PYPI.search(str(error)):
                pytest.skip("PyPI cannot be reached, from which the tutorial installs")
            raise
        yield Tutorial(directory, reader, blocks[last + 1 :])
    finally:
        terminal.close()


@dataclass
class Outside:
    """What the reader of README.md has: a zone to publish in, and a friend with XHMTP."""

    names: NameServer
    friend: AgentServer

    def publish(self, lines: str) -> None:
        """Adds to the zone."""
        self.names.set_zone(f"{self.friend.records()}www.example.org. A 127.0.0.1\n{lines}")


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    with NameServer() as names:
        friend = AgentServer("example.net", "127.0.0.1", tmp_path / "friend", names.port)
        friend.agent().accounts.add(Endpoint.parse("friend@example.net"), PASSWORD)
        found = Outside(names, friend)
        found.publish("")
        with running(friend):
            yield found


def test_what_the_readme_says_delivers_a_message(tutorial: Tutorial, outside: Outside):
    home = tutorial.directory / "readme"
    port = free_port()
    variables = {
        **environment(home),
        "PATH": f"{tutorial.clone}/.venv-tutorial/bin:/usr/bin:/bin",
    }
    # `make run` finds its virtual environment made, to save the time: the tests' own.
    save_python(tutorial.clone / ".venv-run" / "bin" / "python", sys.executable)
    (tutorial.clone / ".venv-run" / "installed").touch()
    # www.example.org is here, and its port 80 another, for curl alone.
    (home / ".curlrc").write_text(f'connect-to = "www.example.org:80:127.0.0.1:{port}"\n')
    terminal = Terminal(tutorial.clone, variables, PASSWORD)
    try:
        reader = Reader(terminal, {})
        blocks = fenced("README.md")
        demonstration = blocks.pop(0)
        reader.follow([demonstration])
        terminal.run(
            f"export XHMTP_RESOLVER=127.0.0.1:{outside.names.port}\n"
            "export XHMTP_ALLOW_NETWORKS=127.0.0.0/8"
        )
        published = next(i for i, block in enumerate(blocks) if block.text == "xhmtp dns\n")
        reader.follow(blocks[: published + 2])
        outside.publish(reader.shown)
        save(terminal, "message.eml", MESSAGE)
        serve = f"gunicorn --bind 127.0.0.1:{port} wsgi:application > gunicorn.log 2>&1 &"
        assert not terminal.run(serve).failed
        reader.follow(blocks[published + 2 :])
        assert not terminal.run("xhmtp-notify").failed
    finally:
        terminal.close()
    friend = outside.friend.agent()
    found = inbox.page(friend.database, Endpoint.parse("friend@example.net"), newest=9, limit=9)
    assert [[check.result for check in notice.checks] for notice in found] == [["pass"] * 3]


def test_the_tutorial_ends_with_a_delivered_message(tutorial: Tutorial):
    # Last in this file, as it clears up what the others use too.
    tutorial.reader.follow(tutorial.left)
    assert tutorial.reader.compared >= 10
