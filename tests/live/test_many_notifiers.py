"""Four notifiers at once on one database: nobody is told twice, as counted at the receiver."""

from collections import Counter
from pathlib import Path

import pytest

from tests.fakes.web_server import CREATED, Visit, WebServer
from tests.live.delivery import (
    fill,
    message_of,
    name_server,
    recipient_of,
    sender,
    sink_zone,
    states,
)

pytestmark = [pytest.mark.live]

DOMAINS = [f"b{number}.example" for number in range(8)]
RECIPIENTS = [f"{name}@{domain}" for domain in DOMAINS for name in ("ann", "bob", "cy")]


def test_four_notifiers_at_once_post_nothing_twice(database_url: str, tmp_path: Path):
    posted: list[tuple[str, str]] = []

    def count(visit: Visit) -> None:
        while request := visit.request():
            posted.append((message_of(request), recipient_of(request)))
            visit.send(CREATED)

    with name_server() as dns, WebServer(count) as sink:
        a = sender(tmp_path, dns.port, database=database_url)
        dns.set_zone(a.records() + sink_zone(DOMAINS, sink.port))
        agent = a.agent()
        identifiers = fill(agent, RECIPIENTS, 40)
        notifiers = [a.popen("xhmtp-notify") for _ in range(4)]
        assert [notifier.wait(120) for notifier in notifiers] == [0] * 4
        # What one gave back as another was at the same destination is for the next pass.
        a.must("xhmtp-notify")
        assert states(agent) == {"notified": len(RECIPIENTS) * 40}
        agent.database.close()
    expected = {(identifier, recipient) for identifier in identifiers for recipient in RECIPIENTS}
    assert Counter(posted) == Counter(expected)
