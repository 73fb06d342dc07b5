"""Sealed messages at bob's terminal: `xhmtp read` and `xhmtp fetch`, with a key or without."""

import email
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.sealed_world import new_key, notices, sign
from tests.test_ssh_signature import keygen
from tests.world import ALICE, BOB, World
from xhmtp_wsgi import preferences
from xhmtp_wsgi.commands import identity_files as identity_files_module
from xhmtp_wsgi.commands import opened_messages
from xhmtp_wsgi.commands.embedded import embedded_commands
from xhmtp_wsgi.commands.opened_messages import is_sealed_message, still_sealed
from xhmtp_wsgi.errors import MalformedSeal
from xhmtp_wsgi.maildir.state import Body
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.sealing import (
    Identity,
    armoured,
    is_sealed,
    seal,
    seal_with_passphrase,
)
from xhmtp_wsgi.protocol.signed_message import sign_message
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.protocol.ssh_signature import sign as ssh_sign
from xhmtp_wsgi.recipient import held_keys
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.reading import ReadMessage
from xhmtp_wsgi.sender import author_keys

MESSAGE = (
    b"From: Alice <alice@a.example>\r\nTo: bob@b.example\r\nSubject: the lamplighter\r\n"
    b"Message-ID: <one@a.example>\r\nX-Own: kept\r\n\r\nMeet at the viaduct.\r\n"
)
WORDS = (b"lamplighter", b"viaduct")


@dataclass
class Desk:
    """bob's terminal, on the machine of his agent."""

    world: World
    directory: Path
    key: Identity
    without_key: list[str] = field(default_factory=list)

    @property
    def maildir(self) -> Path:
        return self.directory / "Mail"

    @property
    def identity(self) -> list[str]:
        return ["--identity", str(self.directory / "bob.txt")]

    def send(self, message: bytes = MESSAGE, query: str = "?seal=always") -> None:
        assert self.world.inject(message, query).status_int in (200, 201)
        self.world.notify()

    def send_sealed(self, octets: bytes, outside: bytes = b"") -> None:
        """What alice's own program has sealed, or says so."""
        header = outside or b"From: alice@a.example\r\nMessage-ID: <one@a.example>\r\n"
        self.send(header + b"Bcc: bob@b.example\r\nContent-Type: application/age\r\n\r\n" + octets,
                  "")  # fmt: skip

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(embedded_commands(lambda: self.world.b.agent), list(arguments))

    def read(self, *arguments: str, which: str = "1") -> Result:
        return self.run("read", "bob@b.example", which, *arguments)

    def fetch(self, *arguments: str) -> Result:
        return self.run("fetch", "bob@b.example", "--maildir", str(self.maildir), *arguments)

    def files(self) -> list[Path]:
        return sorted([*(self.maildir / "new").iterdir(), *(self.maildir / "cur").iterdir()])

    def messages(self) -> list[Message]:
        return [email.message_from_bytes(file.read_bytes()) for file in self.files()]


@pytest.fixture
def desk(sqlite_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    monkeypatch.delenv("XHMTP_IDENTITY", raising=False)
    sign(sqlite_world)
    made = Desk(sqlite_world, tmp_path, new_key(sqlite_world.b.agent, "bob@b.example"))
    write_key(tmp_path / "bob.txt", made.key)
    yield made
    # Whatever was done, nothing of what was sealed is written down in the clear by an agent.
    for file in tmp_path.glob("*.db*"):
        for word in WORDS:
            assert word not in file.read_bytes(), (file, word)


def write_key(path: Path, identity: Identity) -> None:
    path.touch(0o600)
    path.write_text(f"{identity.text()}\n")


def refused(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout_bytes == b""
    return result.stderr.splitlines()[-1]


def checks(result: Result) -> dict[str, str]:
    """What was found, by its name: from standard error."""
    found = [line.partition(": ") for line in result.stderr.splitlines()]
    return {name: said for name, colon, said in found if colon}


# read


def test_a_sealed_message_is_shown_as_others_are_and_marked(desk: Desk):
    desk.send()
    result = desk.read(*desk.identity)
    assert result.exit_code == 0, result.output
    assert "Subject: the lamplighter" in result.stdout
    assert "Meet at the viaduct." in result.stdout
    found = checks(result)
    assert found["sealed"].startswith("pass (opened with your key age1")
    assert str(desk.key.recipient)[:14] in found["sealed"]
    assert found["digest"].startswith("pass")
    assert found["author"] == "none (its author has not signed it)"
    assert notices(desk.world.b.agent, "bob@b.example")[0].seen_at is not None


def test_its_forms(desk: Desk):
    desk.send(MESSAGE.replace(b"X-Own: kept\r\n", b"Content-Type: text/html\r\n"))
    raw = desk.read("--raw", *desk.identity).stdout_bytes
    assert raw.startswith(b"From: Alice <alice@a.example>\r\n")
    assert raw.endswith(b"\r\n\r\nMeet at the viaduct.\r\n")
    told: dict[str, Any] = json.loads(desk.read("--json", *desk.identity).stdout)
    assert told["sealed"] is True
    assert told["header"]["subject"] == "the lamplighter"
    assert told["checks"]["sealed"]["result"] == "pass"
    part = desk.read("--part", str(told["parts"][0]["number"]), *desk.identity)
    assert part.stdout_bytes == b"Meet at the viaduct.\r\n"
    age_file = desk.read("--sealed").stdout_bytes
    assert is_sealed(age_file)
    assert len(age_file) == notices(desk.world.b.agent, "bob@b.example")[0].size


def test_what_is_not_sealed_says_so_and_needs_no_key(desk: Desk):
    desk.send(b"From: alice@a.example\r\nTo: bob@b.example\r\nSubject: x\r\n\r\nplain\r\n", "")
    (desk.directory / "locked").touch(0o600)
    told = json.loads(desk.read("--json").stdout)
    assert told["sealed"] is False
    assert "not sealed" in refused(desk.read("--sealed"))


def test_without_a_key_it_says_how(desk: Desk):
    desk.send()
    line = refused(desk.read())
    assert "the message is sealed" in line
    assert "--identity" in line
    assert notices(desk.world.b.agent, "bob@b.example")[0].seen_at is None


def test_another_key_does_not_open_it(desk: Desk):
    desk.send()
    write_key(desk.directory / "other.txt", Identity.generate())
    line = refused(desk.read("--identity", str(desk.directory / "other.txt")))
    assert "sealed, and to none of your keys" in line


def asked_for(
    monkeypatch: pytest.MonkeyPatch, answer: str, module: ModuleType = opened_messages
) -> list[str]:
    """Has bob type that; what he was asked for."""
    questions: list[str] = []

    def ask(what: str) -> str:
        questions.append(what)
        return answer

    monkeypatch.setattr(module, "asked", ask)
    return questions


def test_where_his_agent_holds_the_key_his_password_is_asked_for(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
):
    agent = desk.world.b.agent
    monkeypatch.setattr(held_keys, "WORK_FACTOR", 10)
    held_keys.give(agent.database, BOB, desk.key, "builder", 1.0)
    desk.send()
    assert "no terminal to ask for the password of bob@b.example" in refused(desk.read())
    questions = asked_for(monkeypatch, "builder")
    result = desk.read()
    assert result.exit_code == 0, result.output
    assert "Meet at the viaduct." in result.stdout
    assert len(questions) == 1
    # His own key in a file comes first; one that does not fit is no reason not to ask.
    assert desk.read(*desk.identity).exit_code == 0
    assert len(questions) == 1
    write_key(desk.directory / "other.txt", Identity.generate())
    assert desk.read("--identity", str(desk.directory / "other.txt")).exit_code == 0
    assert len(questions) == 2
    asked_for(monkeypatch, "wrong")
    assert "Meet" not in refused(desk.read())


def test_the_signature_inside_is_checked(desk: Desk, tmp_path: Path):
    for name in ("alice", "mallory"):
        keygen("-t", "ed25519", "-N", "", "-q", "-f", str(tmp_path / name))
    public = PublicKey.parse((tmp_path / "alice.pub").read_text())
    author_keys.add_key(desk.world.a.agent.database, ALICE, public, 1.0)

    def signed(name: str, number: int) -> bytes:
        key = (tmp_path / name).read_bytes()
        message = MESSAGE.replace(b"<one@", b"<%d@" % number)
        return sign_message(message, lambda octets: ssh_sign(key, None, octets), "b0undary")

    desk.send(signed("alice", 1))
    result = desk.read(*desk.identity)
    assert result.exit_code == 0, result.output
    assert checks(result)["author"].startswith("pass (signed by alice@a.example")
    desk.send(signed("mallory", 2))
    result = desk.read(*desk.identity, which="2")
    assert result.exit_code == 1
    assert checks(result)["author"].startswith("fail (signed with another key")
    result = desk.read(*desk.identity, "--trust-new-key", which="2")
    assert result.exit_code == 0, result.output
    assert checks(result)["sealed"].startswith("pass")
    assert checks(result)["author"].startswith("pass")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((b"alice@", b"mallory@"), "inside, it is from Alice <mallory@a.example>"),
        ((b"<one@", b"<other@"), "another Message-ID"),
    ],
)
def test_another_message_inside_is_a_failed_check(
    desk: Desk, change: tuple[bytes, bytes], said: str
):
    desk.send_sealed(b"".join(seal([MESSAGE.replace(*change)], [desk.key.recipient])))
    result = desk.read(*desk.identity)
    assert result.exit_code == 1
    assert checks(result)["sealed"].startswith("fail (")
    assert said in checks(result)["sealed"]


def test_a_kept_copy_stays_sealed_and_is_opened_again(desk: Desk):
    preferences.put(desk.world.b.agent.database, BOB, "keep", "always")
    desk.send()
    assert desk.read(*desk.identity).exit_code == 0
    desk.world.network.hosts.pop("server.a.example")
    result = desk.read(*desk.identity)
    assert result.exit_code == 0, result.output
    assert checks(result)["sealed"].startswith("pass")
    assert "--identity" in refused(desk.read())


def swapped(desk: Desk, octets: bytes) -> None:
    """alice's agent, or whoever stands before it, gives these instead."""
    desk.world.network.hosts["server.a.example"] = WithBody(desk.world.a, octets)


@dataclass
class WithBody:
    """An agent of which every message has another body."""

    agent: Any
    octets: bytes

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/age")])
        return [self.octets]


@pytest.mark.parametrize("what", ["another message", "an octet", "cut", "nothing", "in the clear"])
def test_a_swapped_file_is_not_shown_nor_brought(desk: Desk, what: str):
    desk.send()
    octets = desk.read("--sealed").stdout_bytes
    swapped(
        desk,
        {
            "another message": b"".join(seal([MESSAGE], [desk.key.recipient])),
            "an octet": octets[:-20] + bytes([octets[-20] ^ 1]) + octets[-19:],
            "cut": octets[:-9],
            "nothing": b"",
            "in the clear": MESSAGE,
        }[what],
    )
    assert "it was changed since the notification told of it" in refused(desk.read(*desk.identity))
    desk.fetch(*desk.identity)
    assert desk.files() == []


# fetch


def test_it_is_in_the_maildir_as_others_are_and_says_that_it_was_sealed(desk: Desk):
    desk.send()
    result = desk.fetch(*desk.identity)
    assert (result.exit_code, result.output) == (0, "")
    (message,) = desk.messages()
    assert (message["Subject"], message["X-Own"]) == ("the lamplighter", "kept")
    assert message.get_payload() == "Meet at the viaduct.\n"
    found = message.get_all("XHMTP-Check")
    assert found is not None
    (sealed,) = [check for check in found if check.startswith("sealed=")]
    assert sealed.startswith("sealed=pass (opened with your key age1")
    assert any(check.startswith("author=none") for check in found)
    assert desk.files()[0].stat().st_mode & 0o777 == 0o600
    assert desk.fetch(*desk.identity).output == ""
    assert len(desk.files()) == 1


def test_what_was_sealed_to_her_words_cannot_say_that_we_found_it_so(desk: Desk):
    forged = MESSAGE.replace(b"X-Own: kept", b"XHMTP-Check: author=pass (forged)")
    desk.send(forged)
    desk.fetch(*desk.identity)
    assert "forged" not in str(desk.messages()[0])


@pytest.mark.parametrize("armour", [False, True])
def test_without_a_key_nothing_is_lost_and_it_can_be_opened_later(desk: Desk, armour: bool):
    if armour:
        desk.send_sealed(b"".join(armoured(seal([MESSAGE], [desk.key.recipient]))))
    else:
        desk.send()
    result = desk.fetch()
    assert (result.exit_code, result.output) == (0, "")
    (message,) = desk.messages()
    assert message.get_content_type() == "application/age"
    assert message["Message-ID"] == "<one@a.example>"
    for untrue in ("Repr-Digest", "Content-Length", "Expires"):
        assert message[untrue] is None
    checks = message.get_all("XHMTP-Check") or []
    assert any(
        check.startswith("sealed=none (it is sealed, and no key was given") for check in checks
    )
    assert str(message.get_payload()).startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    (file,) = desk.files()
    for word in WORDS:
        assert word not in file.read_bytes()
    opened = desk.run("unseal", str(file), *desk.identity)
    assert opened.exit_code == 0, opened.output
    assert opened.stdout_bytes.endswith(b"Meet at the viaduct.\r\n")


def test_a_key_that_does_not_open_it_is_told_once_and_it_is_tried_again(desk: Desk):
    desk.send()
    write_key(desk.directory / "other.txt", Identity.generate())
    other = ["--identity", str(desk.directory / "other.txt")]
    first = desk.fetch(*other)
    assert "is not to be had: it is sealed, and to none of your keys" in first.stderr
    assert desk.fetch(*other).output == ""
    assert desk.files() == []
    desk.world.clock.now += 90_000
    assert desk.fetch(*desk.identity).output == ""
    assert len(desk.files()) == 1


def test_what_cannot_be_opened_is_no_reason_not_to_bring_the_others(desk: Desk):
    desk.send()
    desk.send(b"From: alice@a.example\r\nTo: bob@b.example\r\n\r\nclear\r\n", "?seal=never")
    locked = desk.directory / "locked"
    locked.touch(0o600)
    locked.write_bytes(b"".join(seal_with_passphrase([desk.key.text().encode()], "glass", 10)))
    result = desk.fetch("--identity", str(locked), "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["brought"] for event in events] == [Body.NOTHING, Body.WHOLE]
    assert "no terminal to ask for the passphrase" in events[0]["reason"]


def test_a_passphrase_is_asked_for_once_a_run(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    for number in range(3):
        desk.send(MESSAGE.replace(b"<one@", b"<%d@" % number))
    locked = desk.directory / "locked"
    locked.touch(0o600)
    locked.write_bytes(b"".join(seal_with_passphrase([desk.key.text().encode()], "glass", 10)))
    for answer, brought in (("wrong", 0), ("glass", 3)):
        questions = asked_for(monkeypatch, answer, identity_files_module)
        desk.fetch("--identity", str(locked))
        assert questions == [f"Passphrase of {locked}"]
        assert len(desk.files()) == brought


def test_what_is_not_whole_is_never_in_the_maildir(desk: Desk):
    """Her own program, or her agent, has handed in what is broken: the digest is of that."""
    whole = b"".join(seal([MESSAGE + b"x" * 200_000], [desk.key.recipient]))
    for number, octets in enumerate(
        (whole[:-1], whole[:-1] + b"X", whole[: 70_000], whole.replace(b"-> X", b"-> Y", 1),
         b"".join(seal([b"no message"], [desk.key.recipient])))
    ):  # fmt: skip
        outside = b"From: alice@a.example\r\nMessage-ID: <%d@a.example>\r\n" % number
        desk.send_sealed(octets, outside)
    result = desk.fetch(*desk.identity)
    told = result.stderr.splitlines()
    assert len(told) == 5
    for line, said in zip(
        told,
        ("changed on the way, or its end is cut off", "changed on the way, or its end is cut off",
         "cut off", "to none of your keys", "what was sealed is no message"),
        strict=True,
    ):  # fmt: skip
        assert said in line
    assert desk.files() == []
    assert list((desk.maildir / "tmp").iterdir()) == []
    for number in range(1, 6):
        assert "Meet" not in refused(desk.read(*desk.identity, which=str(number)))


def test_headers_only_opens_nothing(desk: Desk):
    desk.send()
    desk.world.network.hosts["server.a.example"] = HTTPAnswer(500, {}, b"")
    result = desk.fetch("--headers-only", *desk.identity)
    assert result.exit_code == 0
    (message,) = desk.messages()
    assert message["Subject"] is None
    assert "message/external-body" in str(message)


@pytest.mark.parametrize("told", [b"Content-Type: application/age", b"Content-Type: text/plain"])
def test_whatever_was_told_of_it_what_is_kept_says_what_it_is(told: bytes):
    headers = b"From: a@a.example\r\n" + told + b"\r\nContent-Transfer-Encoding: base64\r\n"
    notice = Notice("a" * 26, 1, "http://x", headers, None, None, "", (), 1.0)
    octets = b"".join(seal([MESSAGE], [Identity.generate().recipient]))
    kept = email.message_from_bytes(still_sealed(notice, ReadMessage(octets, ())).octets)
    assert kept.get_all("Content-Type") == ["application/age"]
    assert kept.get_all("Content-Transfer-Encoding") == ["7bit"]
    assert is_sealed_message(notice, ReadMessage(octets, ()))
    with pytest.raises(MalformedSeal, match="no age file"):
        still_sealed(notice, ReadMessage(MESSAGE, ()))
    assert is_sealed_message(notice, ReadMessage(MESSAGE, ())) is (b"age" in told)
