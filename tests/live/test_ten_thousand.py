"""A message to thousands of recipients on one domain: stored once, all told, one report.

XHMTP_RECIPIENTS=10000 asks for as many as docs/delivery.md has the figures of.
"""

import http.client
import os
import time
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from tests.live.delivery import name_server, sender, states
from tests.live.servers import PREFIX, AgentServer, running
from tests.world import basic
from xhmtp_wsgi.accounts import accounts
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.recipient import tables as inbox_tables
from xhmtp_wsgi.sender.tables import messages, pieces

pytestmark = [pytest.mark.live]

ALL = int(os.environ.get("XHMTP_RECIPIENTS", "1000"))
REFUSED = ALL // 20


def test_a_message_to_thousands(quick_path: Path, record_property):
    with name_server() as dns:
        a = sender(quick_path, dns.port)
        b = AgentServer(
            "b.example", "127.0.0.2", quick_path / "b", dns.port,
            options=("--workers", "2", "--threads", "4"),
        )  # fmt: skip
        dns.set_zone(a.records() + b.records())
        b_agent = b.agent()
        readers = [f"u{number}@b.example" for number in range(ALL)]
        with b_agent.database.transaction() as connection:
            rows = [{"address": reader, "created_at": 0.0} for reader in readers[REFUSED:]]
            connection.execute(insert(accounts), rows)
        agent = a.agent()
        with running(a, b):
            begun = time.monotonic()
            assert _inject(a, readers) == 201
            injected = time.monotonic()
            notifier = a.popen("xhmtp-notify")
            _, status, used = os.wait4(notifier.pid, 0)
            delivered = time.monotonic()
            peak = max(map(_peak, a.workers() + b.workers()))
        assert status == 0
        assert states(agent) == {"notified": ALL - REFUSED, "refused": REFUSED}
        with b_agent.database.reading() as connection:
            assert connection.execute(
                select(func.count(), func.max(inbox_tables.mailboxes.c.last_position)).select_from(
                    inbox_tables.mailboxes
                )
            ).one() == (ALL - REFUSED, 1)
        with agent.database.reading() as connection:
            stored = connection.execute(
                select(messages.c.is_report, func.count()).group_by(messages.c.is_report)
            ).all()
            assert {tuple(row) for row in stored} == {(False, 1), (True, 1)}, "once, and one report"
            kept = connection.execute(
                select(func.count())
                .select_from(pieces)
                .join(messages, messages.c.id == pieces.c.message)
                .where(~messages.c.is_report)
            ).scalar_one()
            assert kept == 1
        assert len(inbox.page(agent.database, Endpoint.parse("alice@a.example"),
                              newest=9, limit=9)) == 1  # fmt: skip
    record_property("injection seconds", round(injected - begun, 2))
    record_property("delivery seconds", round(delivered - injected, 2))
    record_property("notifier's peak MiB", round(used.ru_maxrss / 1024))
    record_property("largest worker's peak MiB", round(peak))


def _peak(process: int) -> float:
    """The most memory that a process ever had, in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _inject(a: AgentServer, readers: list[str]) -> int:
    to = ",\r\n ".join(readers)
    message = f"From: alice@a.example\r\nTo: {to}\r\nSubject: all\r\n\r\nDear all\r\n"
    headers = {
        "Content-Type": "message/rfc822",
        "Authorization": basic("alice@a.example", "wonderland"),
    }
    connection = http.client.HTTPConnection(a.address, a.port, timeout=60)
    try:
        connection.request("POST", f"/{PREFIX}/alice/", message.encode(), headers)
        return connection.getresponse().status
    finally:
        connection.close()
