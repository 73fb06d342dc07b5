"""Hosts of a test's own, each in a network namespace, on one bridge; any can be cut off.

The bridge is in a namespace as well, the middle, with an address of its own. So nothing of this can
be reached from outside, nor reach it, and nothing of it is left.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.servers import need

NETWORK = "10.77.0.0/24"
_NETWORK_NAMESPACE = 0x40000000  # CLONE_NEWNET


@dataclass(frozen=True)
class Host:
    """One of them. The middle has no ``port``: it is never cut off."""

    name: str
    address: str
    port: str = ""
    middle: str = ""

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is on that host, and so is what it starts: processes and threads."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(f"/run/netns/{self.name}")
            yield
        finally:
            _set(before)
            os.close(before)

    def cut_off(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        _ip("-n", self.middle, "link", "set", self.port, "down")

    def join(self) -> None:
        """It is connected again."""
        _ip("-n", self.middle, "link", "set", self.port, "up")


@contextmanager
def hosts(count: int) -> Iterator[tuple[Host, ...]]:
    """The middle, and so many hosts on its bridge. Skips the test where there can be none."""
    need("ip")
    if os.geteuid():
        pytest.skip("only root may make network namespaces")
    middle = Host(f"xhmtp-{os.getpid()}-0", "10.77.0.1")
    with ExitStack() as made:
        _namespace(made, middle.name)
        _ip("-n", middle.name, "link", "add", "bridge", "type", "bridge")
        _ip("-n", middle.name, "addr", "add", f"{middle.address}/24", "dev", "bridge")
        _ip("-n", middle.name, "link", "set", "bridge", "up")
        found = [middle]
        for number in range(1, count + 1):
            port = f"port{number}"
            one = Host(f"xhmtp-{os.getpid()}-{number}", f"10.77.0.{number + 1}", port, middle.name)
            _namespace(made, one.name)
            _ip("link", "add", port, "netns", middle.name, "type", "veth",
                "peer", "name", "eth0", "netns", one.name)  # fmt: skip
            _ip("-n", one.name, "addr", "add", f"{one.address}/24", "dev", "eth0")
            _ip("-n", one.name, "link", "set", "eth0", "up")
            _ip("-n", middle.name, "link", "set", port, "master", "bridge", "up")
            found.append(one)
        yield tuple(found)


def _namespace(made: ExitStack, name: str) -> None:
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no network namespace can be made here: {done.stderr.strip()}")
    made.callback(_ip, "netns", "del", name)
    _ip("-n", name, "link", "set", "lo", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _enter(namespace: str) -> None:
    descriptor = os.open(Path(namespace), os.O_RDONLY)
    try:
        _set(descriptor)
    finally:
        os.close(descriptor)


def _set(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _NETWORK_NAMESPACE):
        raise OSError(ctypes.get_errno(), "setns")
