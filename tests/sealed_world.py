"""What tests of sealed messages need of the two agents: signed lists of keys, and bob's copies."""

from dataclasses import replace

from tests.world import ZONE, World, basic, call
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.sealing import Identity, unseal
from xhmtp_wsgi.protocol.signature import key_record
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.sender import sealing_keys


def sign(world: World) -> None:
    """Has both domains sign: their keys are made, and published in the DNS."""
    keys = [
        agent.signing_keys.add(domain)
        for agent, domain in ((world.a.agent, "a.example"), (world.b.agent, "b.example"))
    ]
    lines = [f'{key.name}. 60 TXT "{key_record(key.public)}"' for key in keys]
    world.resolver.set_zone("\n".join([ZONE, *lines]))


def new_key(agent: Agent, address: str, *, post_quantum: bool = False) -> Identity:
    """A key of a user's own, whose public half is published."""
    identity = Identity.generate(post_quantum=post_quantum)
    sealing_keys.add(
        agent.database, Endpoint.parse(address), identity.recipient, agent.clock(), replace=True
    )
    return identity


def policy(world: World, seal: str) -> None:
    """Sets the policy of alice's domain."""
    domains = world.a.agent.settings.domains
    domains["a.example"] = replace(domains["a.example"], seal=seal)  # type: ignore[index]


def notices(agent: Agent, address: str) -> list[Notice]:
    """All that somebody was told of, newest first."""
    return inbox.page(agent.database, Endpoint.parse(address), newest=10**6, limit=10**6)


def fetched(world: World, notice: Notice) -> bytes:
    """The octets that a notice leads to."""
    url = MessageURL.parse(notice.url)
    answer = call(world.a, url.path, authorization=basic(str(url.recipient), url.code))
    assert answer.status_int == 200, answer.text
    return bytes(answer.body)


def opened(octets: bytes, identity: Identity) -> bytes:
    """What is in an age file."""
    return b"".join(unseal([octets], [identity]))
