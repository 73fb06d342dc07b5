"""Which agents are believed to be a domain's, and which domains must be reached over TLS."""

import pytest

from tests.fakes.resolver import FakeResolver
from tests.test_notifier import status
from tests.world import MESSAGE, ZONE, World
from xhmtp_wsgi.dns_resolver import Answer
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.sealing import Identity, seal
from xhmtp_wsgi.sender.target_trust import named_agents

OFF = "agent.elsewhere.example"


def off_domain(world: World, scheme: str = "_xhmtp") -> None:
    """bob's domain names an agent outside it."""
    world.resolver.set_zone(
        ZONE.replace(
            "_xhmtp._tcp.b.example. 60 SRV 0 0 80 server.b.example.",
            f"{scheme}._tcp.b.example. 60 SRV 0 0 80 {OFF}.",
        )
    )
    world.network.hosts[OFF] = world.b


def settle(world: World, policy: str) -> None:
    object.__setattr__(world.a.agent.settings.domains["a.example"], "unvouched", policy)


@pytest.mark.parametrize(
    ("policy", "vouched", "state"),
    [
        ("send", False, "notified"),
        ("wait", False, "deferred"),
        ("sealed", False, "deferred"),
        ("send", True, "notified"),
        ("wait", True, "notified"),
        ("sealed", True, "notified"),
    ],
)
def test_a_target_elsewhere_is_believed_where_the_domain_names_it(
    world: World, policy: str, vouched: bool, state: str
):
    off_domain(world)
    settle(world, policy)
    if vouched:
        world.network.well_known["b.example"] = f"# agents\nagent: {OFF}:80\n"
    location = world.inject().headers["Location"]
    world.notify()
    told = status(world, location)
    assert told["state"] == state
    assert told["unvouched"] == (OFF if policy == "send" and not vouched else None)


def test_a_sealed_message_may_go_where_others_wait(world: World):
    off_domain(world)
    settle(world, "sealed")
    header = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\nContent-Type: application/age\r\n\r\n"
    sealed = b"".join(seal([MESSAGE], [Identity.generate().recipient]))
    location = world.inject(header + sealed).headers["Location"]
    world.notify()
    assert status(world, location)["state"] == "notified"


def test_a_target_that_the_resolver_vouches_for_is_believed(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
):
    off_domain(sqlite_world)
    settle(sqlite_world, "wait")
    real = FakeResolver.resolve

    def vouching(self: FakeResolver, name: str, kind: str) -> Answer:
        answer = real(self, name, kind)
        return Answer(answer.records, answer.ttl, answer.exists, authenticated=True)

    monkeypatch.setattr(FakeResolver, "resolve", vouching)
    sqlite_world.inject()
    assert sqlite_world.notify().notified == 1


def test_what_a_domain_said_of_a_target_is_good_for_an_hour(sqlite_world: World):
    world = sqlite_world
    off_domain(world)
    settle(world, "wait")
    world.inject()
    world.notify()
    world.network.well_known["b.example"] = f"agent: {OFF}"
    world.clock.now += 1800
    assert world.notify().notified == 0
    world.clock.now += 1900
    assert world.notify().notified == 1


@pytest.mark.parametrize(
    ("status_code", "body", "names"),
    [
        (200, "agent: a.example", ("a.example",)),
        (200, "Agent:  A.example:8080 \nother: x\nagent: b.example:443",
         ("a.example:8080", "b.example")),
        (404, "agent: a.example", ()),
        (200, "agent: http://a.example/\nagent: a b\nagent:", ()),
        (200, "\x00\xff<html>", ()),
    ],
)  # fmt: skip
def test_what_a_domain_says_is_read_strictly(status_code: int, body: str, names: tuple[str, ...]):
    assert named_agents(HTTPAnswer(status_code, {}, body.encode())) == names


def test_a_domain_that_had_tls_is_not_spoken_to_in_clear(world: World):
    over_tls = ZONE.replace("_xhmtp._tcp.b.example.", "_xhmtps._tcp.b.example.")
    world.resolver.set_zone(over_tls)
    world.inject()
    assert world.notify().notified == 1
    world.resolver.set_zone(ZONE)
    location = world.inject(MESSAGE.replace(b"hello", b"in clear")).headers["Location"]
    world.notify()
    told = status(world, location)
    assert told["state"] == "deferred"
    assert "was reached over TLS before" in str(told["last-answer"])
    assert len(world.network.posts) == 1, "not an octet went out in clear"
    world.resolver.set_zone(over_tls)
    world.clock.now += 3600
    assert world.notify().notified == 1


def test_that_a_domain_had_tls_is_forgotten_in_time(sqlite_world: World):
    world = sqlite_world
    world.resolver.set_zone(ZONE.replace("_xhmtp._tcp.b.example.", "_xhmtps._tcp.b.example."))
    world.inject()
    world.notify()
    world.resolver.set_zone(ZONE)
    world.clock.now += 181 * 86400
    world.inject(MESSAGE.replace(b"hello", b"later"))
    assert world.notify().notified == 1


def test_a_move_leads_to_no_clear_either(sqlite_world: World):
    world = sqlite_world
    world.resolver.set_zone(ZONE.replace("_xhmtp._tcp.b.example.", "_xhmtps._tcp.b.example."))
    world.inject()
    world.notify()
    world.resolver.set_zone(ZONE + "_xhmtp._tcp.c.example. 60 SRV 0 0 80 server.c.example.\n")
    moved = HTTPAnswer(308, {"location": "http://server.b.example/in/box/bob%40b.example"}, b"")
    world.network.hosts["server.c.example"] = moved
    to_c = MESSAGE.replace(b"bob@b", b"bob@c").replace(b"hello", b"moved")
    location = world.inject(to_c).headers["Location"]
    world.notify()
    told = status(world, location)
    assert told["state"] == "deferred"
    assert "was reached over TLS before" in str(told["last-answer"])
