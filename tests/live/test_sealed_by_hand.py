"""Sealed messages with curl and Debian's age on either side; and xhmtp seal on a third machine.

What the protocol promises to whoever has no program of ours: `curl URL | age -d -i key.txt`.
"""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command_process import run_command
from tests.live.delivery import name_server
from tests.live.servers import PREFIX, AgentServer, need, running
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.published_records import key_zone_record
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.sender.notifier import Notifier

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("sealed_by_hand")]

BOB = "bob@b.example"
MESSAGE = (
    "From: Alice <alice@a.example>\nTo: bob@b.example\nSubject: the lamplighter\n"
    "Message-ID: <{}@a.example>\n\nMeet at the viaduct.\n"
)


@dataclass
class World:
    """Two agents under gunicorn; bob's key is in key.txt, of which only he knows."""

    a: AgentServer
    b: AgentServer
    dns_port: int
    directory: Path

    def shell(
        self, script: str, directory: Path | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        """What somebody types: $CURL is curl, which finds both hosts by their names."""
        curl = [need("curl"), "--silent", "--show-error", "--fail-with-body", "--noproxy", "'*'"]
        for server in (self.a, self.b):
            curl += ["--resolve", f"{server.host}:{server.port}:{server.address}"]
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"CURL=\"{' '.join(curl)}\"\n{script}"],
            capture_output=True, cwd=directory or self.directory, timeout=120, check=False,
        )  # fmt: skip

    def must(self, script: str) -> bytes:
        done = self.shell(script)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def inject(self, file: str, query: str = "") -> None:
        """alice hands in what is in a file."""
        self.must(
            "$CURL --user alice@a.example:wonderland -H 'Content-Type: message/rfc822' "
            f"--data-binary @{file} 'http://{self.a.host}:{self.a.port}/{PREFIX}/alice/{query}'"
        )
        self.a.must("xhmtp-notify")

    def newest_notice(self) -> Notice:
        """The newest of bob's feed."""
        database = self.b.agent().database
        return inbox.page(database, Endpoint.parse(BOB), newest=10**6, limit=10**6)[0]

    def newest(self) -> str:
        """The URL of the newest message, with his code."""
        return self.newest_notice().url

    @property
    def keys_url(self) -> str:
        return f"http://{self.b.host}:{self.b.port}/{PREFIX}/{BOB}/keys"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("by_hand")
    need("age")
    with name_server() as dns:
        a = AgentServer("a.example", "127.0.0.1", directory / "a", dns.port)
        b = AgentServer("b.example", "127.0.0.2", directory / "b", dns.port)
        a.agent().accounts.add(Endpoint.parse("alice@a.example"), "wonderland")
        b.agent().accounts.add(Endpoint.parse(BOB), "builder")
        records = [
            f"{key_zone_record(one.agent().signing_keys.add(one.domain))}\n".replace(
                " TXT", " 60 TXT"
            )
            for one in (a, b)
        ]
        dns.set_zone("".join([a.records(), b.records(), *records]))
        for one in (a, b):
            Notifier(one.agent()).run_pass()
        with running(a, b):
            made = World(a, b, dns.port, directory)
            made.must("age-keygen -o key.txt 2> /dev/null; age-keygen -y key.txt > public.txt")
            b.must("xhmtp", "key", "add", BOB, str(directory / "public.txt"))
            yield made


def message(world: World, name: str) -> bytes:
    """A message of that name in a file; what bob is to get of it."""
    text = MESSAGE.format(name)
    (world.directory / f"{name}.eml").write_text(text)
    return text.replace("\n", "\r\n").encode()


def test_bob_reads_with_curl_and_age_what_alices_agent_sealed(world: World):
    message(world, "agent")
    world.inject("agent.eml", "?seal=always")
    url = world.newest()
    inside = world.must(f"$CURL '{url}' | age -d -i key.txt")
    assert b"Subject: the lamplighter\r\n" in inside
    assert inside.endswith(b"\r\n\r\nMeet at the viaduct.\r\n")
    user, _, rest = url.removeprefix("http://").partition("@")
    by_user = world.must(
        f"$CURL --user {user.replace('%40', '@')} http://{rest} | age -d -i key.txt"
    )
    assert by_user == inside


def test_alice_seals_with_curl_and_age_to_the_keys_that_bob_publishes(world: World):
    wanted = message(world, "hand")
    world.must(
        "$CURL " + world.keys_url + " > keys.txt\n"
        "unix2dos() { sed 's/$/\\r/'; }\n"
        "{ printf 'From: alice@a.example\\nTo: bob@b.example\\nMessage-ID: <hand@a.example>\\n"
        "Content-Type: application/age\\n\\n'; unix2dos < hand.eml | age -R keys.txt --armor; } "
        "> sealed.eml"
    )
    world.inject("sealed.eml")
    assert world.must(f"$CURL '{world.newest()}' | age -d -i key.txt") == wanted
    key = str(world.directory / "key.txt")
    number = str(world.newest_notice().position)
    shown = world.b.run("xhmtp", "read", BOB, number, "--raw", "--identity", key)
    assert shown.returncode == 0, shown.stderr
    assert "sealed: pass" in shown.stderr
    assert shown.stdout.encode() == wanted.replace(b"\r\n", b"\n")


def test_her_own_program_seals_on_a_machine_without_an_agent(world: World):
    message(world, "client")
    with (world.directory / "client.eml").open("a") as long_message:
        long_message.write(("x" * 75 + "\n") * 40_000)
    settings = world.directory / "client.toml"
    settings.write_text(
        f'resolver = ["127.0.0.1:{world.dns_port}"]\nallow_networks = ["127.0.0.0/8"]\n'
    )
    arguments = [
        "--config", str(settings), "seal", str(world.directory / "client.eml"),
        "--post", f"http://{world.a.host}:{world.a.port}/{PREFIX}/alice/", "--password", "-",
    ]  # fmt: skip
    done = run_command("xhmtp", *arguments, typed="wonderland\n")
    assert done.returncode == 0, done.stderr
    again = run_command("xhmtp", *arguments, typed="wonderland\n")
    assert (again.returncode, again.stdout) == (0, done.stdout)
    world.a.must("xhmtp-notify")
    inside = world.must(f"$CURL '{world.newest()}' | age -d -i key.txt")
    assert inside.endswith(b"x" * 75 + b"\r\n")
    assert len(inside) > 3_000_000
    for server in (world.a, world.b):
        for file in server.directory.glob("**/*"):
            assert not file.is_file() or b"viaduct" not in file.read_bytes(), file


def test_what_fetch_leaves_without_a_key_opens_with_age(world: World):
    message(world, "maildir")
    world.inject("maildir.eml", "?seal=always")
    world.b.must("xhmtp", "fetch", BOB, "--maildir", str(world.directory / "Mail"))
    inside = world.must(
        "file=$(grep -l 'Message-ID: <maildir@' Mail/new/*)\n"
        "sed '1,/^$/d' \"$file\" | age -d -i key.txt"
    )
    assert inside.endswith(b"\r\n\r\nMeet at the viaduct.\r\n")


def test_a_key_of_nobody_opens_nothing(world: World):
    message(world, "other")
    world.inject("other.eml", "?seal=always")
    done = world.shell(
        f"age-keygen -o other.txt 2> /dev/null; $CURL '{world.newest()}' | age -d -i other.txt"
    )
    assert done.returncode != 0
    assert done.stdout == b""


def test_her_agent_tells_to_whom_it_seals_before_it_does(world: World):
    message(world, "dry")
    told = json.loads(
        world.must(
            "$CURL --user alice@a.example:wonderland -H 'Content-Type: message/rfc822' "
            f"--data-binary @dry.eml 'http://{world.a.host}:{world.a.port}/{PREFIX}/alice/"
            "?seal=always&dry-run=1'"
        )
    )
    (bob,) = told["recipients"]
    assert (bob["address"], bob["sealed"], bob["refused"]) == (BOB, "x25519", None)
