"""A flood of 20,000 notifications from one address while another sends 200: the 200 are taken."""

import http.client
import os
import statistics
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.live.delivery import name_server, told
from tests.live.servers import PREFIX, AgentServer, running
from xhmtp_wsgi.protocol.endpoint import Endpoint

pytestmark = [pytest.mark.live]

# XHMTP_FLOOD=20000 asks for as many as docs/security.md has the figures of.
FLOOD = int(os.environ.get("XHMTP_FLOOD", "8000"))
HONEST, THREADS = FLOOD // 100, 4
LETTERS = str.maketrans("0123456789", "abcdefghij")


class Sender:
    """Someone who notifies, over one kept-alive connection from one address."""

    def __init__(self, server: AgentServer, host: str, address: str, name: str) -> None:
        self._server, self._host, self._address, self._name = server, host, address, name
        self._connection: http.client.HTTPConnection | None = None

    def send(self, number: int) -> int:
        identifier = f"{self._name}{number:08}".translate(LETTERS).ljust(26, "a")
        url = f"http://bob%40b.example:CODE@{self._host}/xhmtp/x/{identifier}"
        body = urlencode({"url": url, "headers": "Subject: x\r\n"})
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                self._server.address, self._server.port, timeout=60,
                source_address=(self._address, 0),
            )  # fmt: skip
        try:
            self._connection.request(
                "POST", f"/{PREFIX}/bob@b.example", body,
                {"Content-Type": "application/x-www-form-urlencoded"},
            )  # fmt: skip
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection = None
            return 0
        if answer.status == 429:
            assert int(answer.headers["Retry-After"]) >= 1
        return answer.status


def test_a_flood_gets_429_and_others_do_not_notice(quick_path: Path, record_property):
    with name_server() as dns:
        b = AgentServer(
            "b.example", "127.0.0.1", quick_path / "b", dns.port,
            options=("--workers", "2", "--threads", "4", "--keep-alive", "30"),
            extra_settings="notification_burst = 500\nnotifications_per_second = 20\n",
        )  # fmt: skip
        dns.set_zone(
            b.records() + "flood.example. 60 A 127.0.0.66\nhonest.example. 60 A 127.0.0.10\n"
        )
        agent = b.agent()
        agent.accounts.add(Endpoint.parse("bob@b.example"), None)
        codes: Counter[int] = Counter()
        share = FLOOD // THREADS

        def flood(which: int) -> None:
            sender = Sender(b, "flood.example", "127.0.0.66", "f")
            codes.update(sender.send(which * share + number) for number in range(share))

        with running(b):
            honest = Sender(b, "honest.example", "127.0.0.10", "h")
            assert honest.send(0) == 201
            threads = [threading.Thread(target=flood, args=(which,)) for which in range(THREADS)]
            for thread in threads:
                thread.start()
            latencies = []
            for number in range(1, HONEST + 1):
                begun = time.monotonic()
                assert honest.send(number) == 201
                latencies.append(time.monotonic() - begun)
            still = any(thread.is_alive() for thread in threads)
            for thread in threads:
                thread.join()
        assert still, "the flood lasted for as long as the others sent"
        assert codes[201] + codes[429] == FLOOD, codes
        assert codes[429] > FLOOD * 0.9
        ours = [one for one in told(agent, "bob@b.example") if one.startswith("h")]
        assert len(ours) == HONEST + 1
        agent.database.close()
    record_property("honest latency ms, median", round(1000 * statistics.median(latencies), 1))
    record_property("honest latency ms, largest", round(1000 * max(latencies), 1))
