"""xhmtp send, where messages are sealed: what is told before, and after."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.delivery import name_server, sender
from tests.live.servers import AgentServer, running
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Identity, is_sealed, unseal
from xhmtp_wsgi.sender import outbox, recipient_keys, sealing_keys
from xhmtp_wsgi.sender.outbox import StoredMessage

pytestmark = pytest.mark.xdist_group("send_sealed")
ALICE, BOB, CAROL = "alice@a.example", "bob@a.example", "carol@a.example"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentServer]:
    """One agent for alice, bob and carol."""
    with name_server() as dns:
        made = sender(tmp_path_factory.mktemp("sealed"), dns.port)
        for address in (BOB, CAROL):
            made.agent().accounts.add(Endpoint.parse(address), None)
        dns.set_zone(made.records())
        with running(made):
            yield made


@pytest.fixture
def a(server: AgentServer) -> AgentServer:
    """The same, with nobody's key known."""
    database = server.agent().database
    for address in (ALICE, BOB, CAROL):
        sealing_keys.forget(database, Endpoint.parse(address))
    recipient_keys.forget_all(database, Endpoint.parse(ALICE))
    return server


def key_of(a: AgentServer, address: str) -> Identity:
    identity = Identity.generate()
    database = a.agent().database
    sealing_keys.add(database, Endpoint.parse(address), identity.recipient, 1.0, replace=True)
    return identity


def stored(a: AgentServer, identifier: str) -> tuple[StoredMessage, bytes]:
    database = a.agent().database
    message = outbox.find(database, identifier)
    assert message is not None
    return message, b"".join(outbox.octets(database, identifier, 0, message.size))


def test_a_dry_run_tells_who_would_get_it_and_sends_nothing(a: AgentServer):
    key_of(a, BOB)
    before = len(outbox.sent(a.agent().database, Endpoint.parse(ALICE), limit=1000, skip=0))
    arguments = ["--from", ALICE, "--to", BOB, "--to", CAROL, "--subject", "x", "--dry-run"]
    done = a.run("xhmtp", "send", *arguments, "--seal", "always", typed="text")
    assert done.returncode == 1
    bob, carol = done.stdout.splitlines()
    assert bob.startswith(f"{BOB}: sealed to age1")
    assert bob.endswith("first seen now")
    assert carol.startswith(f"{CAROL}: refused: ")
    known = a.run("xhmtp", "send", *arguments, "--seal", "known", "--json", typed="text")
    assert known.returncode == 0
    told = json.loads(known.stdout)
    assert told["dry-run"] is True
    assert [one["sealed"] for one in told["recipients"]] == ["x25519", None]
    assert "would be sealed" in a.must("xhmtp", "send", *arguments, typed="text")
    after = len(outbox.sent(a.agent().database, Endpoint.parse(ALICE), limit=1000, skip=0))
    assert after == before
    assert recipient_keys.known(a.agent().database, Endpoint.parse(ALICE)) == []


def test_what_is_sent_sealed_is_so_and_what_is_not_is_told(a: AgentServer):
    bob = key_of(a, BOB)
    done = a.run(
        "xhmtp", "send", "--from", ALICE, "--to", BOB, "--subject", "quarry", "--seal", "always",
        typed="at the viaduct",
    )  # fmt: skip
    assert done.returncode == 0
    assert "first seen now" in done.stderr
    message, octets = stored(a, done.stdout.strip())
    assert message.sealed == "x25519"
    assert is_sealed(octets)
    assert b"quarry" not in message.header
    inside = b"".join(unseal([octets], [bob]))
    assert b"Subject: quarry" in inside
    assert b"viaduct" in inside
    again = a.run(
        "xhmtp", "send", "--from", ALICE, "--to", BOB, "--cc", CAROL, "--subject", "y",
        "--seal", "known", "--show-subject", typed="z",
    )  # fmt: skip
    assert BOB not in again.stderr, "as always"
    assert f"{CAROL}: in the clear: " in again.stderr


def test_a_recipient_without_a_key_is_one_line_and_nothing_is_sent(a: AgentServer):
    done = a.run(
        "xhmtp", "send", "--from", ALICE, "--to", BOB, "--subject", "x", "--seal", "always",
        typed="y",
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "nothing was sent" in line
    assert BOB in line


def test_a_key_that_has_changed_is_used_when_she_accepts_it(a: AgentServer):
    key_of(a, BOB)
    arguments = ["--from", ALICE, "--to", BOB, "--subject", "x", "--seal", "always"]
    a.must("xhmtp", "send", *arguments, typed="y")
    new = key_of(a, BOB)
    refused = a.run("xhmtp", "send", *arguments, typed="y")
    assert refused.returncode == 1
    assert "have changed" in refused.stderr
    done = a.run("xhmtp", "send", *arguments, "--accept-new-keys", typed="y")
    assert done.returncode == 0
    assert "changed" in done.stderr
    assert b"Subject: x" in b"".join(unseal([stored(a, done.stdout.strip())[1]], [new]))


def test_a_reply_to_a_sealed_message_is_sealed_and_goes_to_all_inside(
    a: AgentServer, tmp_path: Path
):
    bob, alice = key_of(a, BOB), key_of(a, ALICE)
    key_of(a, CAROL)
    (tmp_path / "key.txt").write_text(bob.text())
    # What was sent before shall not arrive after it.
    a.must("xhmtp-notify")
    a.must(
        "xhmtp", "send", "--from", ALICE, "--to", BOB, "--cc", CAROL, "--subject", "quarry",
        "--seal", "always", typed="at the viaduct",
    )  # fmt: skip
    a.must("xhmtp-notify")
    newest = json.loads(a.must("xhmtp", "inbox", BOB, "--json").splitlines()[0])["number"]
    assert "(sealed)" in a.must("xhmtp", "inbox", BOB)
    locked = a.run("xhmtp", "reply", BOB, str(newest), "--quote", typed="yes")
    assert locked.returncode == 0
    assert "cannot be quoted: the message is sealed" in locked.stderr
    done = a.run(
        "xhmtp", "reply", BOB, str(newest), "--all", "--quote", "--identity",
        str(tmp_path / "key.txt"), typed="yes",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    message, octets = stored(a, done.stdout.strip())
    assert message.sealed == "x25519"
    assert b"quarry" not in message.header
    inside = b"".join(unseal([octets], [alice]))
    assert b"Subject: Re: quarry" in inside
    assert b"viaduct" in inside
    assert CAROL.encode() in inside
    told = {one.recipient for one in outbox.statuses(a.agent().database, message.identifier)}
    assert told == {ALICE, CAROL}
