"""Starts and ends the real servers that the live tests talk to: nsd, and agents under gunicorn."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import log_search
from tests.command_process import ForkedCommand, run_command, start_command
from tests.templates import copy_sqlite
from xhmtp_wsgi import Settings
from xhmtp_wsgi.agent import Agent, make_agent

BIN = Path(sys.executable).parent
PREFIX = "xhmtp"


def need(program: str) -> str:
    """The path of a program of Debian's, or the reason why the test is skipped."""
    found = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"Debian's {program} is not installed (.ci/run installs it)")
    return found


def another_clock(offset: str) -> dict[str, str]:
    """The environment of a process whose clock is ahead or behind, by Debian's libfaketime.

    Not by its program: what that leaves in /dev/shm where it is killed, the next of its number
    stumbles over.
    """
    need("faketime")
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return {"LD_PRELOAD": str(library), "FAKETIME": offset}


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nothing answers on, at this moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Waits for something that happens in another process."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Does anything answer there, whatever it says?"""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@dataclass
class Nsd:
    """A name server from Debian, on a loopback port."""

    directory: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self, zones: dict[str, list[str]]) -> None:
        """Serves these zones: by name, lines of a zone file."""
        program = need("nsd")
        for name, lines in zones.items():
            head = [
                "$TTL 5",
                f"@ SOA ns.{name}. hostmaster.{name}. 1 3600 600 86400 5",
                f"@ NS ns.{name}.",
                "ns A 127.0.0.1",
            ]
            (self.directory / f"{name}.zone").write_text("\n".join(head + lines) + "\n")
        self.write_configuration(list(zones))
        self.process = subprocess.Popen(
            [program, "-d", "-c", str(self.directory / "nsd.conf")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, "nsd answers")

    def write_configuration(self, zones: list[str]) -> None:
        text = f"""
server:
    ip-address: 127.0.0.1@{self.port}
    do-ip6: no
    username: ""
    chroot: ""
    server-count: 1
    zonesdir: "{self.directory}"
    database: ""
    pidfile: ""
    logfile: "{self.directory}/nsd.log"
    xfrdfile: "{self.directory}/xfrd.state"
    zonelistfile: "{self.directory}/zone.list"
    xfrdir: "{self.directory}"
remote-control:
    control-enable: no
"""
        for name in zones:
            text += f'zone:\n    name: "{name}"\n    zonefile: "{name}.zone"\n'
        (self.directory / "nsd.conf").write_text(text)

    def _answers(self) -> bool:
        import dns.exception
        import dns.message
        import dns.query

        try:
            dns.query.udp(
                dns.message.make_query("a.example", "SOA"), "127.0.0.1", port=self.port, timeout=0.5
            )
        except (OSError, dns.exception.DNSException):
            return False
        return True

    def stop(self) -> None:
        """Ends it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=10)
            self.process = None


@dataclass
class AgentServer:
    """An agent under gunicorn, with settings of its own."""

    domain: str
    address: str
    directory: Path
    dns_port: int
    database: str = ""
    application: str = "xhmtp_wsgi.wsgi:application"
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    extra_settings: str = ""
    more_domains: tuple[str, ...] = ()
    port: int = 0
    forked: bool = True
    """Not where it is to be in this thread's own network, to load a library of the environment's,
    or to have its memory measured."""
    process: subprocess.Popen[bytes] | ForkedCommand | None = None

    def __post_init__(self) -> None:
        self.port = self.port or free_port(self.address)
        self.directory.mkdir(exist_ok=True)
        if not self.database:
            copy_sqlite(self.directory / f"{self.domain}.db")
        database = self.database or f"sqlite:///{self.domain}.db"
        self.settings.write_text(
            f'database = "{database}"\n'
            f'resolver = ["127.0.0.1:{self.dns_port}"]\n'
            'allow_networks = ["127.0.0.0/8"]\n'
            f"{self.extra_settings}\n"
            + "".join(f'[domain."{name}"]\n' for name in (self.domain, *self.more_domains))
        )

    @property
    def settings(self) -> Path:
        return self.directory / f"{self.domain}.toml"

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def host(self) -> str:
        return f"server.{self.domain}"

    @property
    def log(self) -> Path:
        return self.directory / "gunicorn.log"

    def zone(self) -> list[str]:
        """What its domain publishes."""
        return [
            f"_xhmtp._tcp SRV 0 0 {self.port} {self.host}.",
            f'_prefix._xhmtp TXT "{PREFIX}"',
            f"server A {self.address}",
        ]

    def records(self) -> str:
        """What its domains publish, whole lines for a NameServer."""
        lines = [f"{self.host}. 60 A {self.address}"]
        for name in (self.domain, *self.more_domains):
            lines.append(f"_xhmtp._tcp.{name}. 60 SRV 0 0 {self.port} {self.host}.")
            lines.append(f'_prefix._xhmtp.{name}. 60 TXT "{PREFIX}"')
        return "\n".join(lines) + "\n"

    def agent(self) -> Agent:
        """An agent in this process, on the same database."""
        return make_agent(Settings.load(self.settings))

    def workers(self) -> list[int]:
        """The processes of gunicorn's workers."""
        assert self.process is not None
        parent = self.process.pid
        return [
            int(child)
            for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        ]

    def fork(self, program: str, *arguments: str) -> ForkedCommand:
        """Starts one of our commands with this agent's settings, without its imports."""
        return start_command(program, "--config", str(self.settings), *arguments)

    def popen(self, program: str, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Starts one of our commands with this agent's settings."""
        return subprocess.Popen(
            [str(BIN / program), "--config", str(self.settings), *arguments],
            stdin=subprocess.DEVNULL,
            **options,
        )

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        self.process = self._gunicorn(
            "--bind", f"{self.address}:{self.port}", "--no-control-socket",
            *self.options, self.application,
        )  # fmt: skip
        until(self.is_up, f"{self.domain} answers")

    def _gunicorn(self, *arguments: str) -> subprocess.Popen[bytes] | ForkedCommand:
        environment = {
            **os.environ,
            "XHMTP_CONFIG": str(self.settings),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **self.environment,
        }
        if self.forked:
            return start_command(
                "gunicorn", *arguments,
                printed=self.log, errors=self.log, environment=environment,
            )  # fmt: skip
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(BIN / "gunicorn"), *arguments], env=environment, stdout=log, stderr=log
            )

    def is_up(self) -> bool:
        """Does it answer?"""
        return answers(self.url)

    def stop(self) -> None:
        """Ends it."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)
            self.process = None
            log_search.keep(self.log.read_text(errors="replace"))

    def run(
        self, program: str, *arguments: str, typed: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Runs one of our commands with this agent's settings."""
        done = run_command(program, "--config", str(self.settings), *arguments, typed=typed)
        log_search.keep(done.stderr)
        return done

    def must(self, program: str, *arguments: str, typed: str = "") -> str:
        """The same; what it printed, if it succeeded."""
        done = self.run(program, *arguments, typed=typed)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def curl(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        """curl, which finds this agent's host by its name."""
        return subprocess.run(
            [
                need("curl"),
                "--silent",
                "--show-error",
                "--noproxy",
                "*",
                "--resolve",
                f"{self.host}:{self.port}:{self.address}",
                *arguments,
            ],
            capture_output=True,
            timeout=120,
            check=False,
        )


@contextmanager
def running(*servers: AgentServer) -> Iterator[None]:
    """These servers, started, and ended whatever happens."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.stop()
