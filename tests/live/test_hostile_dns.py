"""Hostile DNS for the sender: no packet reaches a trap on the addresses that it names."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.fakes.web_server import CREATED, WebServer, always
from tests.live.delivery import fill, name_server, sender
from xhmtp_wsgi.sender.tables import deliveries

pytestmark = [pytest.mark.live]

# What each domain's agent has for an address; all that this machine can have a trap on, has one.
HOSTS = {
    "loopback": ["A 127.0.0.1"],
    "loopback-range": ["A 127.66.66.66"],
    "six-loopback": ["AAAA ::1"],
    "mapped": ["AAAA ::ffff:127.0.0.1"],
    "mapped-private": ["AAAA ::ffff:10.0.0.1"],
    "metadata": ["A 169.254.169.254"],
    "azure": ["A 168.63.129.16"],
    "private": ["A 10.0.0.1"],
    "nat64": ["AAAA 64:ff9b::7f00:1"],
    "six-to-four": ["AAAA 2002:7f00:1::1"],
    "compatible": ["AAAA ::127.0.0.1"],
    "multicast": ["A 224.0.0.1"],
    "any": ["A 0.0.0.0"],
    "one-of-two": ["A 8.8.8.8", "A 127.0.0.1"],
    "alias": ["CNAME loop.trap.example."],
}


@contextmanager
def traps() -> Iterator[tuple[int, list[WebServer]]]:
    """Web servers on one port of every loopback address that the domains name."""
    with ExitStack() as stack:
        first = stack.enter_context(WebServer(always(CREATED), "127.0.0.1"))
        found = [first]
        for address in ("127.66.66.66", "::1"):
            try:
                trap = WebServer(always(CREATED), address, port=first.port)
            except OSError:
                continue
            found.append(stack.enter_context(trap))
        yield first.port, found


def test_no_packet_reaches_an_address_that_must_not_be_reached(tmp_path: Path):
    with name_server() as dns, traps() as (port, trapped):
        a = sender(tmp_path, dns.port)
        text = a.settings.read_text()
        a.settings.write_text(text.replace('"127.0.0.0/8"', '"127.0.0.77/32"'))
        zone = a.records() + "loop.trap.example. 60 A 127.0.0.1\n"
        for name, records in HOSTS.items():
            zone += f"_xhmtp._tcp.{name}.example. 60 SRV 0 0 {port} host.{name}.example.\n"
            zone += "".join(f"host.{name}.example. 60 {record}\n" for record in records)
        for name, target in {"an-address": "127.0.0.1.", "a-number": "2130706433."}.items():
            zone += f"_xhmtp._tcp.{name}.example. 60 SRV 0 0 {port} {target}\n"
        # Whose address is another at each question: what was vetted is what is connected to.
        asked: list[str] = []
        zone += f"_xhmtp._tcp.rebinds.example. 0 SRV 0 0 {port} host.rebinds.example.\n"
        zone += "host.rebinds.example. 0 A 127.0.0.77\n"
        dns.set_zone(zone)

        def rebind(question: str, answer: str) -> None:
            if "host.rebinds.example" in question and question.endswith(" A?"):
                asked.append(question)
                dns.set_zone(zone.replace("0 A 127.0.0.77", "0 A 127.0.0.1"))

        dns.on_question = rebind
        names = [*HOSTS, "an-address", "a-number", "rebinds"]
        agent = a.agent()
        fill(agent, [f"bob@{name}.example" for name in names], 1)
        a.must("xhmtp-notify")
        with agent.database.reading() as connection:
            found = {
                row.domain.removesuffix(".example"): row
                for row in connection.execute(select(deliveries)).all()
                if row.domain != "a.example"
            }
        agent.database.close()
    assert [server.connections for server in trapped] == [[] for _ in trapped]
    assert found["rebinds"].state == "deferred", "nobody answers at the address that was vetted"
    for name in names[:-1]:
        assert found[name].state == "refused", (name, found[name].last_answer)
    assert len(asked) >= 1
