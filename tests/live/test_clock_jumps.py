"""The clock jumps between passes, by Debian's faketime: nothing is lost, and nothing stormed."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.fakes.web_server import CREATED, Visit, WebServer
from tests.live.delivery import fill, name_server, sender, sink_zone, states
from tests.live.servers import BIN, AgentServer, another_clock, need

pytestmark = [pytest.mark.live]

COUNT = 20


def notify_at(a: AgentServer, offset: str) -> None:
    """A pass by a clock that is so much ahead or behind."""
    done = subprocess.run(
        [str(BIN / "xhmtp-notify"), "--config", str(a.settings)],
        env={**os.environ, **another_clock(offset)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_an_hour_forward_and_back(tmp_path: Path):
    need("faketime")
    well = False

    def script(visit: Visit) -> None:
        while visit.request():
            visit.send(CREATED if well else b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    with name_server() as dns, WebServer(script) as sink:
        a = sender(tmp_path, dns.port)
        dns.set_zone(a.records() + sink_zone(["b.example"], sink.port))
        agent = a.agent()
        fill(agent, ["bob@b.example"], COUNT)
        counts = []
        for offset in ("+0", "+1h", "+1h", "+0", "-1h", "-1h", "+0"):
            notify_at(a, offset)
            counts.append(len(sink.requests))
            assert states(agent) == {"deferred": COUNT}
        # An hour ahead all is due once more; behind, nothing is until the clock has come there.
        assert counts[0] <= 8, "a failing destination is left alone"
        assert counts[1] - counts[0] == 1, "and then tried with one"
        assert counts[-1] == counts[1], "nothing is stormed"
        well = True
        # All are due again when the clock comes to where it had been, and the wait is over.
        notify_at(a, "+2h")
        notify_at(a, "+2h")
        assert states(agent) == {"notified": COUNT}
