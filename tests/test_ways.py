"""The promises of ways: asked once for a burst, never kept for longer than the DNS says."""

import pytest

from tests.world import World
from xhmtp_wsgi.errors import DNSUnavailable, OwnDomainInError, Transient
from xhmtp_wsgi.sender.ways import KEPT_FOR, Ways

SRV = ("_xhmtp._tcp.b.example", "SRV")
ZONE = """
_xhmtp._tcp.b.example. 3 SRV 0 0 80 server.b.example.
_prefix._xhmtp.b.example. 60 TXT "in/box"
"""


def test_a_domain_is_asked_for_once_until_its_ttl_is_over(sqlite_world: World):
    world = sqlite_world
    world.resolver.set_zone(ZONE)
    ways = Ways(world.a.agent)
    world.resolver.asked.clear()
    for _ in range(5):
        assert ways.to("b.example").prefix == "in/box"
    assert world.resolver.asked.count(SRV) == 1
    world.clock.now += 3
    ways.to("b.example")
    assert world.resolver.asked.count(SRV) == 2


def test_several_agents_share_the_load(sqlite_world: World):
    world = sqlite_world
    lines = [f"_xhmtp._tcp.b.example. 60 SRV 0 10 80 {host}.b.example." for host in ("x", "y")]
    world.resolver.set_zone("\n".join(lines))
    ways = Ways(world.a.agent)
    assert len({ways.to("b.example").targets[0].host for _ in range(64)}) == 2


def test_a_failure_is_not_kept(sqlite_world: World):
    world = sqlite_world
    ways = Ways(world.a.agent)
    world.resolver.failing.add("_xhmtps._tcp.b.example")
    with pytest.raises(DNSUnavailable):
        ways.to("b.example")
    world.resolver.failing.clear()
    assert ways.to("b.example").prefix == "in/box"


def test_where_we_are_ourselves_is_asked_anew_after_a_while(sqlite_world: World):
    world = sqlite_world
    ways = Ways(world.a.agent)
    assert ways.own("a.example").url.host == "server.a.example"
    moved = (
        '_xhmtp._tcp.a.example. 60 SRV 0 0 80 new.a.example.\n_prefix._xhmtp.a.example. 60 TXT "x"'
    )
    world.resolver.set_zone(moved)
    assert ways.own("a.example").url.host == "server.a.example"
    world.clock.now += KEPT_FOR
    assert ways.own("a.example").url.host == "new.a.example"


def test_what_is_wrong_with_our_own_domain_is_told_apart(sqlite_world: World):
    world = sqlite_world
    ways = Ways(world.a.agent)
    world.resolver.set_zone("_xhmtp._tcp.a.example. 60 SRV 0 0 0 .")
    with pytest.raises(OwnDomainInError):
        ways.own("a.example")
    world.resolver.failing.add("_xhmtps._tcp.a.example")
    with pytest.raises(Transient) as failed:
        ways.own("a.example")
    assert not isinstance(failed.value, DNSUnavailable)
