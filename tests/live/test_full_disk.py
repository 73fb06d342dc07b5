"""The disk is full: clear errors, nothing half-written, and all goes on once there is room."""

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.live.delivery import fill, name_server, sender, states, told
from tests.live.servers import PREFIX, AgentServer, need, running
from tests.world import basic
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint

pytestmark = [pytest.mark.live]


@contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[Path]:
    """A file system of that size, or the reason why the test is skipped."""
    directory.mkdir()
    done = subprocess.run(
        [need("mount"), "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(directory)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run([need("umount"), "-l", str(directory)], check=True)


class Ballast:
    """A file that takes all the room there is."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "ballast"

    def fill(self) -> None:
        with self._file.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def drop(self) -> None:
        self._file.unlink()


def post(server: AgentServer, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.address, server.port, timeout=30)
    try:
        connection.request("POST", f"/{PREFIX}{path}", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def inject(server: AgentServer, subject: str, size: int = 2000) -> tuple[int, bytes]:
    message = f"From: alice@a.example\r\nTo: bob@b.example\r\nSubject: {subject}\r\n\r\n"
    headers = {
        "Content-Type": "message/rfc822",
        "Authorization": basic("alice@a.example", "wonderland"),
    }
    return post(server, "/alice/", message.encode() + b"x" * size, headers)


def whole(agent: Agent) -> bool:
    with agent.database.reading() as connection:
        return connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"


def test_injection_with_a_full_disk(tmp_path: Path):
    with small_disk(tmp_path / "disk", 6) as disk, name_server() as dns:
        a = sender(disk, dns.port, f'spool = "{tmp_path}"\n')
        dns.set_zone(a.records())
        agent = a.agent()
        with running(a):
            assert inject(a, "before")[0] == 201
            ballast = Ballast(disk)
            ballast.fill()
            for size in (2000, 1_000_000):
                status, body = inject(a, f"full{size}", size)
                assert status == 507
                assert json.loads(body)["title"] == "Storage full"
            assert states(agent) == {"queued": 1}, "nothing of them is there"
            ballast.drop()
            assert inject(a, "full2000")[0] == 201
        assert whole(agent)
        assert states(agent) == {"queued": 2}
        agent.database.close()


def test_injection_with_a_full_spool(tmp_path: Path):
    with small_disk(tmp_path / "spool", 1) as spool, name_server() as dns:
        a = sender(tmp_path, dns.port, f'spool = "{spool}"\n')
        dns.set_zone(a.records())
        with running(a):
            status, body = inject(a, "large", 3_000_000)
            assert status == 507
            assert "no room" in json.loads(body)["detail"]
            assert not list(spool.iterdir()), "nothing is left behind"
            assert inject(a, "small")[0] == 201


def test_notification_and_notifier_with_a_full_disk(tmp_path: Path):
    with (
        small_disk(tmp_path / "a-disk", 6) as a_disk,
        small_disk(tmp_path / "b-disk", 6) as b_disk,
        name_server() as dns,
    ):
        a = sender(a_disk, dns.port, "retry_first = 0.1\nretry_longest = 0.2\n")
        b = AgentServer("b.example", "127.0.0.2", b_disk / "b", dns.port)
        dns.set_zone(a.records() + b.records())
        b_agent = b.agent()
        b_agent.accounts.add(Endpoint.parse("bob@b.example"), None)
        agent = a.agent()
        identifiers = fill(agent, ["bob@b.example"], 20)
        with running(b):
            # The receiver's disk is full: he is tried again.
            ballast = Ballast(b_disk)
            ballast.fill()
            assert a.run("xhmtp-notify").returncode == 0
            assert states(agent) == {"deferred": 20}
            assert told(b_agent, "bob@b.example") == []
            ballast.drop()

            # The sender's own disk is full: the notifier says so in one line, and loses nothing.
            a.must("xhmtp", "queue", "retry", "--all")
            ballast = Ballast(a_disk)
            ballast.fill()
            done = a.run("xhmtp-notify")
            assert done.returncode == 1
            assert done.stderr.splitlines()[-1].startswith("xhmtp-notify: there is no room left")
            assert "Traceback" not in done.stderr
            ballast.drop()

            a.must("xhmtp", "queue", "retry", "--all")
            a.must("xhmtp-notify")
        assert states(agent) == {"notified": 20}
        assert sorted(told(b_agent, "bob@b.example")) == sorted(identifiers)
        assert whole(agent)
        assert whole(b_agent)
        agent.database.close()
        b_agent.database.close()
