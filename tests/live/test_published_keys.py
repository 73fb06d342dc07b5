"""Published keys over real servers: Debian's age reads the list, and another agent verifies it."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.servers import PREFIX, AgentServer, Nsd, need, running
from xhmtp_wsgi.errors import SignatureInvalid
from xhmtp_wsgi.key_lookup import look_up
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Identity
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.sender import author_keys, sealing_keys
from xhmtp_wsgi.sender.recipient_keys import keys_for

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("published_keys")]

ALICE, BOB = Endpoint.parse("alice@a.example"), Endpoint.parse("bob@b.example")
LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK8+aAwmHUoxLRZZbAegYsztJFocLFaamIoykDWD7hZ6"


@dataclass
class World:
    """bob's agent with a signing key in the DNS, and where alice's settings are."""

    a: AgentServer
    b: AgentServer
    identity: Identity
    url: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("published_keys")
    need("curl")
    nsd = Nsd(directory)
    a = AgentServer("a.example", "127.0.0.1", directory / "a", nsd.port)
    b = AgentServer("b.example", "127.0.0.2", directory / "b", nsd.port)
    b.must("xhmtp", "user", "add", str(BOB), "-", typed="builder\n")
    added = b.must("xhmtp", "key", "add", "b.example")
    (record,) = (line.strip() for line in added.splitlines() if "TXT" in line)
    identity = Identity.generate()
    agent = b.agent()
    author_keys.add_key(agent.database, BOB, PublicKey.parse(LINE), agent.clock())
    sealing_keys.add(agent.database, BOB, identity.recipient, agent.clock(), replace=False)
    try:
        nsd.start({"a.example": a.zone(), "b.example": [*b.zone(), record]})
        with running(b):
            yield World(a, b, identity, f"{b.url}/{PREFIX}/bob%40b.example/keys")
    finally:
        nsd.stop()


def test_age_seals_to_the_list_as_it_is_served(world: World, tmp_path: Path):
    age = need("age")
    listed, key = tmp_path / "keys.txt", tmp_path / "identity.txt"
    listed.write_bytes(world.b.curl("--fail", world.url).stdout)
    key.write_text(f"{world.identity.text()}\n")
    assert listed.read_text().splitlines() == [
        "# keys of bob@b.example", f"# signs: {LINE}", str(world.identity.recipient),
    ]  # fmt: skip
    sealed = subprocess.run(
        [age, "-R", str(listed)], input=b"Dear Bob", capture_output=True, check=True
    ).stdout
    assert sealed.startswith(b"age-encryption.org/v1\n")
    opened = subprocess.run(
        [age, "-d", "-i", str(key)], input=sealed, capture_output=True, check=True
    )
    assert opened.stdout == b"Dear Bob"


def test_another_agent_verifies_what_the_domain_signed(world: World):
    found = look_up(world.a.agent(), BOB, 20.0)
    assert found.signed_by is not None and found.signed_by.domain == "b.example"
    assert found.sealing == (world.identity.recipient,)
    assert [key.line() for key in found.signing] == [LINE]
    keys = keys_for(world.a.agent(), ALICE, [BOB], within=20.0)[BOB]
    assert (keys.recipients, keys.is_new) == ((world.identity.recipient,), True)


def test_head_and_a_cache_are_answered_by_the_real_server(world: World):
    head = world.b.curl("--head", world.url).stdout.decode()
    assert head.startswith("HTTP/1.1 200")
    fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    assert fields["Cache-Control"] == "max-age=3600"
    assert 'tag="xhmtp-keys"' in fields["Signature-Input"]
    again = world.b.curl("--include", "--header", f"If-None-Match: {fields['ETag']}", world.url)
    assert again.stdout.startswith(b"HTTP/1.1 304")
    assert again.stdout.endswith(b"\r\n\r\n"), "no body"


def test_without_its_key_in_the_dns_the_domain_is_not_believed(world: World, tmp_path: Path):
    """A name server that has another key under that name."""
    other = tmp_path / "nsd"
    other.mkdir()
    nsd = Nsd(other)
    selector = next(
        line.split("._key")[0].strip()
        for line in world.b.must("xhmtp", "key", "list", "b.example").splitlines()
        if "._key._xhmtp." in line
    )
    wrong = f'{selector}._key._xhmtp TXT "v=xhmtp1; k=ed25519; p={"A" * 42}k="'
    a = AgentServer("a.example", "127.0.0.1", tmp_path / "a", nsd.port)
    try:
        nsd.start({"b.example": [*world.b.zone(), wrong]})
        with pytest.raises(SignatureInvalid, match="not by this key"):
            look_up(a.agent(), BOB, 20.0)
    finally:
        nsd.stop()
