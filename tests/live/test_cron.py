"""The notifier as cron runs it: Debian's cron, with the line from contrib/cron.d."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.delivery import fill, name_server, sender, states, told
from tests.live.servers import BIN, AgentServer, need, running, until
from tests.live.web_servers import from_contrib
from xhmtp_wsgi.protocol.endpoint import Endpoint

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("cron")]


def test_cron_delivers_what_waits(tmp_path: Path):
    with name_server() as dns:
        a = sender(tmp_path, dns.port)
        b = AgentServer("b.example", "127.0.0.2", tmp_path / "b", dns.port)
        b.agent().accounts.add(Endpoint.parse("bob@b.example"), "builder")
        dns.set_zone(a.records() + b.records())
        with running(b):
            sent = fill(a.agent(), ["bob@b.example"], 1)
            printed = tmp_path / "printed"
            table = from_contrib(
                "cron.d/xhmtp",
                {
                    "* * * * * xhmtp ": "* * * * * root ",
                    "/srv/example/venv/bin": str(BIN),
                    "/etc/xhmtp/xhmtp.toml": f"{a.settings} >>{printed} 2>&1",
                },
            )
            agent = a.agent()
            assert states(agent) == {"queued": 1}
            with cron(tmp_path, table):
                until(
                    lambda: states(agent) == {"notified": 1} or text_of(printed) != "",
                    "cron's pass", seconds=150,
                )  # fmt: skip
            assert text_of(printed) == "", "cron would mail it"
        assert told(b.agent(), "bob@b.example") == sent


def text_of(file: Path) -> str:
    return file.read_text() if file.exists() else ""


@contextmanager
def cron(directory: Path, table: str) -> Iterator[None]:
    """A cron with this file as its only one, in mounts of its own: the system's sees nothing."""
    if os.geteuid() != 0:
        pytest.skip("cron runs as root")
    program, unshare = need("cron"), [need("unshare"), "--mount", "--propagation", "private"]
    if subprocess.run([*unshare, "mount", "-t", "tmpfs", "x", "/mnt"], check=False).returncode:
        pytest.skip("this container may not have mounts of its own")
    files = directory / "cron.d"
    files.mkdir()
    (files / "xhmtp").write_text(table)
    (files / "xhmtp").chmod(0o644)
    nothing = directory / "nothing"
    nothing.touch()
    begin = (
        f"mount --bind {files} /etc/cron.d && mount --bind {nothing} /etc/crontab && "
        f'mount -t tmpfs x /var/spool/cron/crontabs && mount -t tmpfs x /run && exec "$@"'
    )
    command = [*unshare, "sh", "-c", begin, "sh", *_soon(), program, "-f"]
    # faketime stays as cron's parent: both are ended by their group.
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)
        until(lambda: not _lives(process.pid), "the end of cron")


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _soon() -> list[str]:
    """Sets cron's clock, and that of nothing it runs, to shortly before a minute is full."""
    program = shutil.which("faketime")
    if program is None:
        return []
    ahead = (58 - time.time() % 60) % 60
    return [program, "-f", f"+{ahead:.0f}s"]
