"""Which of its hosts an agent's links name, where the DNS names several."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demonstration.name_server import NameServer
from xhmtp_wsgi import Settings
from xhmtp_wsgi.agent import make_agent

SRV = "_xhmtp._tcp.a.example. 60 SRV "


@pytest.fixture
def dns() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


def links(dns: NameServer, directory: Path, *records: str) -> set[str]:
    """What the links of twenty processes are made of."""
    dns.set_zone("".join(f"{SRV}{record}\n" for record in records))
    settings = Settings.load(
        {
            "database": f"sqlite:///{directory}/x.db",
            "resolver": [f"127.0.0.1:{dns.port}"],
            "domain": {"a.example": {}},
        }
    )
    return {str(make_agent(settings).url_of("a.example")) for _ in range(20)}


@pytest.mark.parametrize(
    ("records", "link"),
    [
        (("0 1 80 web2.a.example.", "0 1 80 web1.a.example."), "http://web1.a.example"),
        (("0 1 80 web2.a.example.", "0 9 80 Web3.a.example."), "http://web3.a.example"),
        (("20 1 80 backup.a.example.", "10 0 8080 web.a.example."), "http://web.a.example:8080"),
        (("0 1 80 web.a.example.", "0 1 8080 web.a.example."), "http://web.a.example"),
    ],
    ids=["by name", "the heavier", "the nearer", "by port"],
)
def test_links_always_name_the_same_host(
    dns: NameServer, tmp_path: Path, records: tuple[str, ...], link: str
):
    assert links(dns, tmp_path, *records) == {link}
