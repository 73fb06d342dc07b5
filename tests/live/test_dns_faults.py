"""What the DNS can do to a delivery, from a name server that does it."""

from pathlib import Path

import pytest
from sqlalchemy import select

from tests.fakes.web_server import CREATED, WebServer, always
from tests.live.delivery import fill, name_server, sender, sink_zone
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.sender.tables import deliveries

pytestmark = [pytest.mark.live]

NAMES = ["well", "nothing", "servfail", "silent", "truncated", "dot", "alias", "badprefix",
         "prefixfails", "comes-back"]  # fmt: skip


def outcomes(agent: Agent) -> dict[str, tuple[str, str]]:
    """State and last answer, by the first label of the domain."""
    with agent.database.reading() as connection:
        found = connection.execute(
            select(deliveries.c.domain, deliveries.c.state, deliveries.c.last_answer)
        ).all()
    return {
        row.domain.partition(".")[0]: (row.state, row.last_answer)
        for row in found
        if row.domain != "a.example"
    }


def test_each_fault_of_the_dns_is_classed_as_the_protocol_says(tmp_path: Path):
    with name_server() as dns, WebServer(always(CREATED)) as sink:
        a = sender(tmp_path, dns.port)
        zone = sink_zone([f"{name}.example" for name in NAMES if name != "nothing"], sink.port)
        zone = zone.replace(
            f"_xhmtp._tcp.dot.example. 60 SRV 0 0 {sink.port} sink.dot.example.",
            "_xhmtp._tcp.dot.example. 60 SRV 0 0 0 .",
        )
        zone = zone.replace(
            "sink.alias.example. 60 A 127.0.0.1",
            "sink.alias.example. 60 CNAME real.alias.example.\nreal.alias.example. 60 A 127.0.0.1",
        )
        zone = zone.replace(
            '_prefix._xhmtp.badprefix.example. 60 TXT "xhmtp"',
            '_prefix._xhmtp.badprefix.example. 60 TXT "../x"',
        )
        dns.set_zone(a.records() + zone)
        dns.faults.update(
            {
                "_xhmtps._tcp.servfail.example": "servfail",
                "_xhmtp._tcp.silent.example": "timeout",
                "_xhmtp._tcp.truncated.example": "truncate",
                "_prefix._xhmtp.prefixfails.example": "servfail",
                "sink.comes-back.example": "servfail",
            }
        )
        agent = a.agent()
        fill(agent, [f"bob@{name}.example" for name in NAMES], 1)
        a.must("xhmtp-notify")
        found = outcomes(agent)
        assert {name: state for name, (state, _) in found.items()} == {
            "well": "notified",
            "nothing": "refused",
            "servfail": "deferred",
            "silent": "deferred",
            "truncated": "notified",
            "dot": "refused",
            "alias": "notified",
            "badprefix": "refused",
            "prefixfails": "deferred",
            "comes-back": "deferred",
        }
        assert "takes no messages" in found["dot"][1]
        assert "knows no domain nothing.example" in found["nothing"][1]
        assert "does not tell" in found["servfail"][1]

        dns.faults.clear()
        a.must("xhmtp", "queue", "retry", "--all")
        a.must("xhmtp-notify")
        assert {state for state, _ in outcomes(agent).values()} == {"notified", "refused"}


def test_a_name_server_that_is_gone_comes_back_between_passes(tmp_path: Path):
    with WebServer(always(CREATED)) as sink:
        with name_server() as dns:
            a = sender(tmp_path, dns.port, "retry_first = 0.2\nretry_longest = 0.4\n")
            zone = a.records() + sink_zone(["b.example"], sink.port)
        agent = a.agent()
        fill(agent, ["bob@b.example"], 3)
        assert a.run("xhmtp-notify").stderr == "", "nothing that an operator must mend"
        assert {state for state, _ in outcomes(agent).values()} == {"deferred"}
        with name_server(zone) as again:
            a.settings.write_text(a.settings.read_text().replace(f":{dns.port}", f":{again.port}"))
            a.must("xhmtp", "queue", "retry", "--all")
            a.must("xhmtp-notify")
        assert {state for state, _ in outcomes(agent).values()} == {"notified"}
