"""A world with sealed messages in every form, and every kind of key, for the tests of moving."""

from dataclasses import dataclass
from unittest.mock import patch

from tests.sealed_world import fetched, new_key, notices, sign
from tests.test_openpgp_key import KEY, PERSON
from tests.transfer_world import at
from tests.world import ALICE, BOB, MESSAGE, World, basic, call
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.openpgp_key import OpenPGPKey
from xhmtp_wsgi.protocol.sealing import Identity, seal
from xhmtp_wsgi.recipient import held_keys, sealed_extracts
from xhmtp_wsgi.recipient.kept_copies import keep
from xhmtp_wsgi.recipient.sealed_extracts import Inside
from xhmtp_wsgi.recipient.verdict import Check
from xhmtp_wsgi.sender import openpgp_keys, outbox

NAMES = ("bob", "cheryl", "dora", "emil")
SEVERAL = (
    b"From: Alice Liddell <alice@a.example>\r\nTo: bob@b.example\r\nCc: cheryl@b.example\r\n"
    b"Bcc: dora@b.example, emil@b.example\r\nSubject: the lamplighter\r\n"
    b"Message-ID: <several@a.example>\r\n\r\nMeet at the viaduct.\r\n" + b"x" * 600_000
)
OUTER = (
    b"From: Alice <alice@a.example>\r\nTo: bob@b.example\r\nMessage-ID: <client@a.example>\r\n"
    b"Content-Type: application/age\r\n\r\n"
)
PASSWORD = "builder"


@dataclass(frozen=True)
class Sealed:
    """What was sent: the IDs of messages by name; ``keys``: what opens them, by name."""

    ids: dict[str, str]
    keys: dict[str, Identity]


def fill_sealed(world: World) -> Sealed:
    """Messages in one and in several representations, with X25519 and post-quantum keys."""
    sign(world)
    a, b = world.a.agent, world.b.agent
    for name in (*NAMES[1:], "fred"):
        b.accounts.add(Endpoint.parse(f"{name}@b.example"), "password of theirs")
    keys = {
        name: new_key(b, f"{name}@b.example", post_quantum=name in ("bob", "emil"))
        for name in NAMES
    }
    keys["alice"] = new_key(a, "alice@a.example")
    sealed_by_her = b"".join(seal([MESSAGE], [keys["bob"].recipient]))
    ids = {
        "several": sent(world, SEVERAL, "?seal=always"),
        "in clear too": sent(
            world, MESSAGE, "?seal=known&to=bob@b.example&to=fred@b.example&to=cheryl@b.example"
        ),
        "one": sent(world, MESSAGE.replace(b"hello", b"one"), "?seal=always&subject=outside"),
        "by her": sent(world, OUTER + sealed_by_her, ""),
        "withdrawn": sent(world, SEVERAL.replace(b"<several", b"<gone"), "?seal=always"),
    }
    world.clock.now += 100_000
    world.notify()
    outbox.withdraw(a.database, ids["withdrawn"], world.clock.now)
    _work_on(world, ids["several"], keys["bob"])
    ids["queued"] = sent(world, MESSAGE.replace(b"hello", b"queued"), "?seal=always")
    return Sealed(ids, keys)


def sent(world: World, message: bytes, query: str) -> str:
    """alice hands in a message; its ID."""
    answer = world.inject(message, query)
    assert answer.status_int == 201, answer.text
    return str(answer.json["id"])


def _work_on(world: World, message: str, identity: Identity) -> None:
    """bob keeps a copy of a sealed message, has opened it, holds his key, and has one of gpg's."""
    database, now = world.b.agent.database, world.clock.now
    notice = next(one for one in notices(world.b.agent, str(BOB)) if one.url.endswith(message))
    octets = fetched(world, notice)
    keep(database, notice.identifier, octets, [Check("digest", "pass", "it is")], now)
    inside = Inside("the lamplighter", "Alice Liddell", "thread inside")
    sealed_extracts.note(database, notice.identifier, inside, "viaduct", identity, now)
    # How long a password is stretched makes no difference to a row that is carried.
    with patch.object(held_keys, "WORK_FACTOR", 10):
        held_keys.give(database, BOB, identity, PASSWORD, now)
    openpgp_keys.put(database, BOB, OpenPGPKey.parse(KEY + PERSON), now)


def by_code(world: World, agent: Agent, address: str) -> dict[str, bytes]:
    """What each link in somebody's mailbox leads to at that host, by the message's ID."""
    found = {}
    for notice in notices(world.b.agent, address):
        url = MessageURL.parse(notice.url)
        answer = call(at(agent), url.path, authorization=basic(address, url.code))
        found[url.path.rpartition("/")[2]] = answer.body if answer.status_int == 200 else b""
    return found


def her_own(agent: Agent, message: str) -> bytes:
    """What alice gets of a message of hers."""
    answer = call(
        at(agent), f"/xhmtp/alice/{message}", authorization=basic(str(ALICE), "wonderland")
    )
    assert answer.status_int == 200, answer.text
    return bytes(answer.body)
