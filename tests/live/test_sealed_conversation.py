"""A sealed conversation between two real sites: no word of it is in any file of either agent.

First bob keeps his key; then his agent holds it, and he reads with his password.
"""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.live.servers import PREFIX, until
from tests.live.test_sealed_by_hand import BOB, World, world
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Identity, parse_identities
from xhmtp_wsgi.recipient import held_keys

__all__ = ["world"]
pytestmark = [pytest.mark.live, pytest.mark.xdist_group("sealed_conversation")]

PASSWORD = "a long one of bob's"
WORDS = (b"lamplighter", b"viaduct", b"quarry", b"aqueduct", b"Liddell", b"earlier-one")


def dump_of(directory: Path) -> bytes:
    """All files below a directory, and each database as text, with what its pages still hold."""
    found = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    for path in directory.rglob("*.db"):
        connection = sqlite3.connect(path)
        found += [line.encode() for line in connection.iterdump()]
        connection.close()
    return b"\n".join(found)


def require_nothing(world: World, *secrets: bytes) -> None:
    """Neither agent has a word of the conversation, or one of these secrets, in any file."""
    for server in (world.a, world.b):
        dump = dump_of(server.settings.parent)
        assert b"CREATE TABLE" in dump, "the dump is one"
        assert b"alice@a.example" in dump
        for word in (*WORDS, *secrets):
            assert word not in dump, (server.domain, word)


def write(world: World, name: str, text: str) -> None:
    (world.directory / f"{name}.eml").write_text(
        "From: Alice Liddell <alice@a.example>\nTo: bob@b.example\nSubject: the lamplighter\n"
        f"Message-ID: <{name}@a.example>\nIn-Reply-To: <earlier-one@b.example>\n\n{text}\n"
    )


def test_where_bob_keeps_his_key_no_word_is_in_any_file(world: World):
    identity = parse_identities((world.directory / "key.txt").read_text())[0]
    write(world, "first", "Meet at the viaduct. " + "quarry " * 100_000)
    world.inject("first.eml", "?seal=always")
    inside = world.must(f"$CURL '{world.newest()}' | age -d -i key.txt")
    assert inside.count(b"quarry") == 100_000
    read = world.b.must("xhmtp", "read", BOB, "1", "--identity", str(world.directory / "key.txt"))
    assert "viaduct" in read
    reply = world.b.run(
        "xhmtp", "send", "--from", BOB, "--to", "alice@a.example", "--subject", "Re: lamplighter",
        "--seal", "always", typed="At the aqueduct instead.",
    )  # fmt: skip
    assert reply.returncode == 1, "alice has no key yet, and nothing is kept of it"
    world.must("age-keygen -o alice.txt 2> /dev/null; age-keygen -y alice.txt > alice.pub")
    world.a.must("xhmtp", "key", "add", "alice@a.example", str(world.directory / "alice.pub"))
    # A list without keys is believed for a while.
    with world.b.agent().database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM fetched_keys")
    world.b.must(
        "xhmtp", "send", "--from", BOB, "--to", "alice@a.example", "--subject", "Re: lamplighter",
        "--seal", "always", typed="At the aqueduct instead.",
    )  # fmt: skip
    world.b.must("xhmtp-notify")
    got = world.a.must(
        "xhmtp", "read", "alice@a.example", "1", "--identity", str(world.directory / "alice.txt")
    )
    assert "aqueduct" in got
    require_nothing(world, identity.text().encode())


def test_where_his_agent_holds_it_none_is_there_without_his_password(world: World):
    # His pages and resources may fetch what he opens.
    world.b.stop()
    with world.b.settings.open("a") as settings:
        settings.write("reading = true\n")
    world.b.start()
    agent = world.b.agent()
    held = Identity.generate()
    held_keys.give(agent.database, Endpoint.parse(BOB), held, PASSWORD, agent.clock())
    (world.directory / "held.pub").write_text(f"{held.recipient}\n")
    world.b.must("xhmtp", "key", "add", BOB, str(world.directory / "held.pub"), "--replace")
    with world.a.agent().database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM fetched_keys")
    write(world, "second", "Again at the viaduct, by the quarry.")
    world.inject("second.eml", "?seal=always&accept-keys=1")
    until(lambda: "second" in str(world.newest_notice().headers), "the notice")
    identifier = world.newest_notice().identifier
    url = f"http://{world.b.host}:{world.b.port}/{PREFIX}/{BOB}/api/messages/{identifier}/unsealed"

    def unseal(password: str) -> bytes:
        return world.shell(
            f"$CURL --user {BOB}:builder -H 'Content-Type: application/json' "
            f"--data-binary @- '{url}' <<'END'\n{json.dumps({'password': password})}\nEND"
        ).stdout

    assert b"viaduct" not in unseal("another password")
    assert b"Again at the viaduct" in unseal(PASSWORD), "its agent fetches, as its domain allows"
    require_nothing(world, held.text().encode(), PASSWORD.encode())
