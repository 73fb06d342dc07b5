"""xhmtp seal: a person's own program seals; her agent gets nothing that it could read."""

import email
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.at_terminal import at_terminal
from tests.live.servers import need
from tests.sealed_world import fetched, new_key, notices, opened, sign
from tests.templates import copy_sqlite
from tests.test_ssh_signature import keygen
from tests.world import ALICE, BOB, World
from xhmtp_wsgi import Settings
from xhmtp_wsgi.agent import Agent, make_agent
from xhmtp_wsgi.commands import author_key as author_key_module
from xhmtp_wsgi.commands.client import open_client
from xhmtp_wsgi.commands.embedded import embedded_commands
from xhmtp_wsgi.commands.unsealed_message import taken_in
from xhmtp_wsgi.errors import NotSealedToThese, SettingsError
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Identity, is_sealed
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.recipient import reading
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.sender import author_keys, outbox, recipient_keys, sealing_keys

NAMES = ("bob", "carol", "dora", "erin")
URL = "http://server.a.example/xhmtp/alice/"
SECRET = (
    b"From: Alice Liddell <alice@a.example>\r\nTo: Bob <bob@b.example>, carol@b.example\r\n"
    b"Bcc: dora@b.example, erin@b.example\r\nSubject: the lamplighter\r\nKeywords: quarry\r\n"
    b"Date: Fri, 06 Nov 2026 12:34:56 +0900\r\nMessage-ID: <one@a.example>\r\n\r\n"
    b"Meet at the viaduct.\r\n"
)
TO_BOB = (
    b"From: alice@a.example\nTo: bob@b.example\nSubject: the lamplighter\n"
    b"Message-ID: <one@a.example>\n\nMeet at the viaduct.\n"
)
WORDS = (b"lamplighter", b"quarry", b"viaduct", b"Liddell", b"+0900")


@dataclass
class Desk:
    """alice's own machine: her program, which knows no agent of hers but by its URL."""

    world: World
    client: Agent
    directory: Path

    def seal(self, message: bytes, *arguments: str, typed: str = "wonderland\n") -> Result:
        """Seals a message in a file."""
        (self.directory / "message.eml").write_bytes(message)
        return CliRunner().invoke(
            embedded_commands(lambda: self.client),
            ["seal", str(self.directory / "message.eml"), *arguments],
            input=typed,
        )

    def post(self, message: bytes, *arguments: str) -> Result:
        """Seals it and hands it in, her password on standard input."""
        return self.seal(message, "--post", URL, "--password", "-", *arguments)

    def written(self, message: bytes, *arguments: str) -> bytes:
        """What would be handed in."""
        result = self.seal(message, *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout_bytes

    def received(self, name: str) -> list[tuple[Notice, bytes]]:
        """What somebody was told of, and got, the oldest first."""
        self.world.notify()
        found = notices(self.world.b.agent, f"{name}@b.example")
        return [(notice, fetched(self.world, notice)) for notice in reversed(found)]


@pytest.fixture
def desk(sqlite_world: World, tmp_path: Path) -> Desk:
    sign(sqlite_world)
    for name in NAMES[1:]:
        sqlite_world.b.agent.accounts.add(Endpoint.parse(f"{name}@b.example"), "theirs")
    copy_sqlite(tmp_path / "client.db")
    settings = Settings.load({"database": f"sqlite:///{tmp_path}/client.db"}, needs_domain=False)
    client = make_agent(
        settings,
        resolver=sqlite_world.resolver,
        network=sqlite_world.network,  # type: ignore[arg-type]
        clock=sqlite_world.clock,
        monotonic=sqlite_world.clock,
    )
    return Desk(sqlite_world, client, tmp_path)


@pytest.fixture
def keys(desk: Desk) -> dict[str, Identity]:
    """Of bob, carol, dora and erin, all of one kind."""
    return {name: new_key(desk.world.b.agent, f"{name}@b.example") for name in NAMES}


def refused(result: Result) -> list[str]:
    """What was said of it; nothing was printed."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout_bytes == b""
    return result.stderr.splitlines()


def stored(desk: Desk) -> list[outbox.StoredMessage]:
    """What alice's agent has."""
    return list(outbox.sent(desk.world.a.agent.database, ALICE, limit=100, skip=0))


def split(handed_in: bytes) -> tuple[Message, bytes]:
    """The outer header, and what is behind it."""
    header, _, body = handed_in.partition(b"\r\n\r\n")
    return email.message_from_bytes(header + b"\r\n\r\n"), body


# Handed in


def test_bob_gets_what_alice_sealed_and_nobody_between_can_read_it(
    desk: Desk, keys: dict[str, Identity]
):
    result = desk.post(TO_BOB)
    assert result.exit_code == 0, result.output
    (message,) = stored(desk)
    assert result.stdout == f"{message.identifier}\n"
    assert message.message_id == "<one@a.example>"
    ((notice, octets),) = desk.received("bob")
    assert is_sealed(octets)
    inside = opened(octets, keys["bob"])
    assert inside.startswith(TO_BOB.replace(b"\n", b"\r\n").partition(b"\r\n\r\n")[0])
    assert inside.endswith(b"\r\n\r\nMeet at the viaduct.\r\n")
    assert b"Date: " in inside, "added where it is missing"
    with pytest.raises(NotSealedToThese):
        opened(octets, keys["carol"])
    for database in desk.directory.glob("*.db*"):
        for word in WORDS:
            assert word not in database.read_bytes(), (database, word)
    assert split(notice.headers + b"\r\n\r\n")[0]["To"] is None


def test_the_same_again_is_sent_once(desk: Desk, keys: dict[str, Identity]):
    first, again = desk.post(TO_BOB), desk.post(TO_BOB)
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert again.stdout == first.stdout
    assert "not sent again" in again.stderr
    assert len(desk.received("bob")) == 1


def test_of_several_copies_the_same_again_sends_none_twice(desk: Desk, keys: dict[str, Identity]):
    keys["carol"] = new_key(desk.world.b.agent, "carol@b.example", post_quantum=True)
    assert desk.post(SECRET).exit_code == 0
    again = desk.post(SECRET)
    assert again.exit_code == 1
    assert "name with --to whoever did not get his" in again.stderr
    assert [len(desk.received(name)) for name in NAMES] == [1, 1, 1, 1]


def test_who_is_in_bcc_gets_a_copy_of_his_own_which_tells_of_no_other(
    desk: Desk, keys: dict[str, Identity]
):
    result = desk.post(SECRET)
    assert result.exit_code == 0, result.output
    assert [line.partition("\t")[2] for line in result.stdout.splitlines()] == [
        "bob@b.example, carol@b.example", "dora@b.example", "erin@b.example",
    ]  # fmt: skip
    received = {name: desk.received(name) for name in NAMES}
    identifiers = {}
    for name, ((notice, octets),) in received.items():
        inside = email.message_from_bytes(opened(octets, keys[name]))
        outside, _ = split(notice.headers + b"\r\n\r\n")
        assert inside["Message-ID"] == outside["Message-ID"]
        identifiers[name] = inside["Message-ID"]
        assert inside["To"] == "Bob <bob@b.example>, carol@b.example"
        assert inside["Bcc"] is None
        assert b"erin" not in opened(octets, keys[name])
        assert octets.count(b"-> X25519") == (2 if name in ("bob", "carol") else 1)
    assert identifiers["bob"] == identifiers["carol"] == "<one@a.example>"
    assert len(set(identifiers.values())) == 3
    assert all(one.endswith("@a.example>") for one in identifiers.values())


def test_keys_of_two_kinds_are_never_in_one_file(desk: Desk, keys: dict[str, Identity]):
    keys["carol"] = new_key(desk.world.b.agent, "carol@b.example", post_quantum=True)
    message = SECRET.replace(b"Bcc: dora@b.example, erin@b.example\r\n", b"")
    result = desk.post(message)
    assert result.exit_code == 0, result.output
    assert len(stored(desk)) == 2
    for name, stanza, other in (
        ("bob", b"-> X25519", b"-> mlkem768x25519"),
        ("carol", b"-> mlkem768x25519", b"-> X25519"),
    ):
        ((_, octets),) = desk.received(name)
        assert opened(octets, keys[name]).endswith(b"viaduct.\r\n")
        assert (octets.count(stanza), octets.count(other)) == (1, 0)


def test_one_copy_may_be_for_her_own_key_too(desk: Desk, keys: dict[str, Identity]):
    own, quantum = Identity.generate(), Identity.generate(post_quantum=True)
    assert desk.post(TO_BOB, "--own-key", str(own.recipient)).exit_code == 0
    ((_, octets),) = desk.received("bob")
    assert opened(octets, own) == opened(octets, keys["bob"])
    result = desk.post(TO_BOB.replace(b"<one@", b"<two@"), "--own-key", str(quantum.recipient))
    assert result.exit_code == 0
    assert "you cannot read it" in result.stderr


def test_the_subject_is_outside_only_where_she_wants_it(desk: Desk, keys: dict[str, Identity]):
    for options in ([], ["--show-subject"]):
        outside, body = split(desk.written(TO_BOB, *options))
        assert outside["Subject"] == ("the lamplighter" if options else None)
        assert outside["Content-Type"] == "application/age"
        assert outside["Bcc"] == "bob@b.example"
        assert outside["To"] is None
        assert is_sealed(body)


def test_a_header_as_long_as_may_be_is_inside_once(desk: Desk, keys: dict[str, Identity]):
    long = b"X-Long:" + b"".join(b" %0900d\n" % number for number in range(800))
    message = TO_BOB.replace(b"\n\n", b"\n" + long + b"\n")
    inside = opened(split(desk.written(message))[1], keys["bob"])
    assert inside.count(b"%0900d" % 799) == 1
    assert inside.endswith(b"\r\n\r\nMeet at the viaduct.\r\n")


def test_sign_then_seal(desk: Desk, keys: dict[str, Identity], tmp_path: Path):
    file = tmp_path / "alice"
    keygen("-t", "ed25519", "-N", "", "-q", "-f", str(file))
    public = PublicKey.parse(file.with_suffix(".pub").read_text())
    author_keys.add_key(desk.world.a.agent.database, ALICE, public, desk.world.clock())
    result = desk.post(SECRET, "--sign", str(file))
    assert result.exit_code == 0, result.output
    for name in ("bob", "dora"):
        ((_, octets),) = desk.received(name)
        assert public.fingerprint().encode() not in octets
        inside = opened(octets, keys[name])
        check = reading.check_author(desk.world.b.agent, BOB, inside)
        assert check.result == "pass", check


def test_for_several_copies_it_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    keygen("-t", "ed25519", "-N", "glass", "-q", "-f", str(tmp_path / "alice"))
    questions = []

    def ask(what: str) -> str:
        questions.append(what)
        return "glass"

    monkeypatch.setattr(author_key_module, "asked", ask)
    key = author_key_module.AuthorKey((tmp_path / "alice").read_bytes())
    for _ in range(2):
        assert b"multipart/signed" in key.signed(TO_BOB)
    assert len(questions) == 1


def test_what_waits_to_be_sealed_is_in_no_file_in_the_clear(desk: Desk):
    long = TO_BOB + b"viaduct\n" * 100_000
    with taken_in(desk.client, [long], None, ()) as draft:
        draft.message.file.seek(0)
        assert b"viaduct" not in draft.message.file.read()
        assert b"".join(draft.message.in_pieces(1 << 20)).count(b"viaduct") == 100_001


def test_a_key_with_a_passphrase_asks_for_it_once(
    desk: Desk, keys: dict[str, Identity], tmp_path: Path
):
    file = tmp_path / "alice"
    keygen("-t", "ed25519", "-N", "glass", "-q", "-f", str(file))
    (tmp_path / "message").write_bytes(SECRET)
    arguments = ["seal", "message", "--sign", str(file), "--recipient",
                 str(keys["bob"].recipient), "--to", "bob@b.example"]  # fmt: skip
    done = at_terminal(tmp_path, *arguments, typed="glass",
                       environment={"XDG_DATA_HOME": str(tmp_path)})  # fmt: skip
    assert done.code == 0, done.screen
    assert done.screen.count("Passphrase of the key that signs") == 1
    inside = opened(split(done.printed)[1], keys["bob"])
    assert b"multipart/signed" in inside
    assert (tmp_path / "xhmtp").stat().st_mode & 0o777 == 0o700


# Who has no key, and whose has changed


def test_nothing_is_sent_where_one_has_no_key_and_each_is_named(desk: Desk):
    for name in ("bob", "erin"):
        new_key(desk.world.b.agent, f"{name}@b.example")
    lines = refused(desk.post(SECRET.replace(b"erin@", b"erin@b.example, zed@")))
    assert lines[-1] == "Error: nothing was sent: of 5 recipients, 3 cannot be sealed to"
    for name in ("carol", "dora", "zed"):
        assert any(f"{name}@b.example publishes no key" in line for line in lines)
    assert stored(desk) == []
    assert recipient_keys.known(desk.client.database, ALICE) == [], "nothing is remembered either"


def test_an_agent_that_is_down_is_told(desk: Desk, keys: dict[str, Identity]):
    desk.world.network.hosts.pop("server.b.example")
    lines = refused(desk.post(TO_BOB))
    assert "not to be had" in lines[0]
    assert stored(desk) == []


def test_keys_that_have_changed_are_refused_until_she_accepts_them(
    desk: Desk, keys: dict[str, Identity]
):
    first = desk.post(TO_BOB)
    assert "seen for the first time" in first.stderr
    new = new_key(desk.world.b.agent, "bob@b.example")
    desk.world.clock.now += 7200
    other = TO_BOB.replace(b"<one@", b"<two@")
    assert "the keys of bob@b.example have changed" in refused(desk.post(other))[0]
    assert len(stored(desk)) == 1
    accepted = desk.post(other, "--accept-new-keys")
    assert accepted.exit_code == 0, accepted.output
    assert "accepted: the keys of bob@b.example have changed" in accepted.stderr
    again = desk.post(TO_BOB.replace(b"<one@", b"<three@"))
    assert (again.exit_code, again.stderr) == (0, ""), "known from then on"
    assert opened(desk.received("bob")[-1][1], new).endswith(b"viaduct.\r\n")


def test_a_dry_run_tells_and_does_nothing(desk: Desk, keys: dict[str, Identity]):
    result = desk.seal(SECRET, "--dry-run", "--post", URL)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"{name}@b.example" for name in NAMES]
    assert all(": age1" in line and "first time" in line for line in lines)
    assert stored(desk) == []
    assert recipient_keys.known(desk.client.database, ALICE) == []
    sealing_keys.forget(desk.world.b.agent.database, BOB)
    desk.world.clock.now += 7200
    result = desk.seal(SECRET, "--dry-run")
    assert result.exit_code == 1
    assert "bob@b.example publishes no key" in result.stdout


# Keys that are given, and what is written down


def test_given_keys_are_sealed_to_and_nobody_is_asked(desk: Desk, tmp_path: Path):
    desk.world.network.hosts.clear()
    keys = [Identity.generate() for _ in range(3)]
    (tmp_path / "keys").write_text(f"# bob's\n{keys[1].recipient}\n\n{keys[2].recipient}\n")
    _, body = split(
        desk.written(TO_BOB, "-r", str(keys[0].recipient), "-R", str(tmp_path / "keys"))
    )
    assert body.count(b"-> X25519") == 3
    for key in keys:
        assert opened(body, key).endswith(b"viaduct.\r\n")


def test_what_is_written_age_opens(desk: Desk, keys: dict[str, Identity], tmp_path: Path):
    output = tmp_path / "handed-in"
    assert desk.written(TO_BOB, "--output", str(output)) == b""
    assert output.stat().st_mode & 0o777 == 0o600
    (tmp_path / "key").write_text(keys["bob"].text())
    (tmp_path / "body").write_bytes(split(output.read_bytes())[1])
    done = subprocess.run(
        [need("age"), "-d", "-i", str(tmp_path / "key"), str(tmp_path / "body")],
        capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.endswith(b"Meet at the viaduct.\r\n")


def test_what_is_written_is_taken_by_her_agent_as_it_is(desk: Desk, keys: dict[str, Identity]):
    assert desk.world.inject(desk.written(TO_BOB)).status_int == 201
    ((_, octets),) = desk.received("bob")
    assert opened(octets, keys["bob"]).endswith(b"viaduct.\r\n")


def test_several_copies_are_not_written_into_one_file(desk: Desk, keys: dict[str, Identity]):
    (line,) = refused(desk.seal(SECRET, "--output", str(desk.directory / "out")))[-1:]
    assert "this takes 3 files" in line
    assert not (desk.directory / "out").exists()
    outside, body = split(desk.written(SECRET, "--to", "dora@b.example"))
    assert outside["Bcc"] == "dora@b.example"
    assert outside["Message-ID"] != "<one@a.example>"
    assert opened(body, keys["dora"]).endswith(b"viaduct.\r\n")


@pytest.mark.parametrize(
    ("message", "arguments", "said"),
    [
        (SECRET, ["-r", str(Identity.generate().recipient)], "whoever is in Bcc"),
        (TO_BOB, ["-r", "age1xxx"], "not a key to seal to"),
        (TO_BOB, ["-r", "AGE-SECRET-KEY-1"], "not a key to seal to"),
        (TO_BOB.replace(b"To:", b"X:"), [], "no recipient is named"),
        (TO_BOB.replace(b"From:", b"X:"), [], "name the sender with --from"),
        (
            TO_BOB.partition(b"\n\n")[0]
            + b"\nContent-Type: application/age\n\nage-encryption.org/v1\n",
            [],
            "sealed already",
        ),
        (b"", [], "name the sender with --from"),
        (TO_BOB, ["--to", "bob"], "name@domain"),
        (TO_BOB, ["--post", "ftp://x/"], "URL of an outbox"),
        (TO_BOB, ["--post", "http://alice:secret@server.a.example/x/"], "seen by others"),
        (TO_BOB, ["--post", "http://[::1/"], "URL of an outbox"),
    ],
    ids=range(11),
)
def test_what_cannot_be_sealed_is_one_line(
    desk: Desk, keys: dict[str, Identity], message: bytes, arguments: Sequence[str], said: str
):
    (line,) = refused(desk.seal(message, *arguments))
    assert said in line
    assert "secret@" not in line


def test_a_file_of_keys_that_has_none_or_other_things_is_refused(
    desk: Desk, tmp_path: Path, keys: dict[str, Identity]
):
    for content, said in (("# none\n", "has no key in it"), ("age1nonsense\n", "not a key")):
        (tmp_path / "keys").write_text(content)
        (line,) = refused(desk.seal(TO_BOB, "-R", str(tmp_path / "keys")))
        assert said in line


@pytest.mark.parametrize(
    "arguments", [["--post", URL, "--output", "x"], ["--password", "wonderland"]]
)
def test_what_does_not_go_together_is_a_wrong_use(desk: Desk, arguments: list[str]):
    assert desk.seal(TO_BOB, *arguments).exit_code == 2


def test_the_password_and_the_message_cannot_both_be_standard_input(desk: Desk):
    group = embedded_commands(lambda: desk.client)
    result = CliRunner().invoke(group, ["seal", "--post", URL, "--password", "-"], input="x")
    assert result.exit_code == 2


# What her agent answers


def test_a_wrong_password_is_told_and_nothing_of_it(desk: Desk, keys: dict[str, Identity]):
    result = desk.seal(TO_BOB, "--post", URL, "--password", "-", typed="looking-glass\n")
    assert "does not know alice@a.example by that password" in refused(result)[-1]
    assert "looking-glass" not in result.output


def test_without_a_terminal_it_does_not_wait_for_a_password(desk: Desk, keys: dict[str, Identity]):
    assert "no terminal to ask for the password" in refused(desk.seal(TO_BOB, "--post", URL))[-1]
    assert stored(desk) == []


def test_another_user_may_log_in(desk: Desk, keys: dict[str, Identity]):
    desk.world.a.agent.accounts.add(Endpoint.parse("zoe@a.example"), "wonderland")
    line = refused(desk.post(TO_BOB, "--user", "zoe@a.example"))[-1]
    assert "zoe@a.example may not use the outbox of alice" in line


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HTTPAnswer(413, {}, b'{"detail": "too\\u001b[2J large"}'), "answered 413: too [2J large"),
        (HTTPAnswer(404, {}, b"<html>" * 999), "answered 404: it does not say why"),
        (HTTPAnswer(302, {"location": "http://x/"}, b""), "answered 302"),
        (HTTPAnswer(500, {}, b"[" * 99999), "answered 500"),
        (HTTPAnswer(200, {}, b"[]"), "was sent before, and not to bob@b.example"),
        (HTTPAnswer(200, {}, b'{"recipients": [1, {"address": "x"}]}'), "was sent before"),
    ],
)
def test_whatever_an_agent_answers_is_one_line(
    desk: Desk, keys: dict[str, Identity], answer: HTTPAnswer, said: str
):
    desk.world.network.hosts["server.a.example"] = answer
    line = refused(desk.post(TO_BOB))[-1]
    assert said in line
    assert len(line) < 500
    assert line.isprintable()


def test_what_could_not_be_handed_in_is_named_and_can_be_sent_then(
    desk: Desk, keys: dict[str, Identity]
):
    whole = desk.world.a

    class SecondTimeDown:
        """Takes the first message, and is then replaced by a failure."""

        def __call__(self, environ: object, start_response: object) -> object:
            desk.world.network.hosts["server.a.example"] = HTTPAnswer(507, {}, b"{}")
            return whole(environ, start_response)  # type: ignore[arg-type]

    desk.world.network.hosts["server.a.example"] = SecondTimeDown()
    result = desk.post(SECRET)
    assert result.exit_code == 1
    line = result.stderr.splitlines()[-1]
    assert (
        "sent to bob@b.example, carol@b.example, and not to dora@b.example, erin@b.example" in line
    )
    assert "--to dora@b.example --to erin@b.example" in line
    desk.world.network.hosts["server.a.example"] = whole
    rest = desk.post(SECRET, "--to", "dora@b.example", "--to", "erin@b.example")
    assert rest.exit_code == 0, rest.output
    assert [len(desk.received(name)) for name in NAMES] == [1, 1, 1, 1]


def test_half_of_the_visible_recipients_can_be_sent_to_later(desk: Desk, keys: dict[str, Identity]):
    """The Message-ID stays with the first recipient's copy, so that no copy is taken for his."""
    assert desk.post(SECRET, "--to", "bob@b.example").exit_code == 0
    assert desk.post(SECRET, "--to", "carol@b.example").exit_code == 0
    assert [len(desk.received(name)) for name in ("bob", "carol")] == [1, 1]


# Her own settings


def test_what_it_remembers_is_in_her_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("XHMTP_CONFIG", raising=False)
    monkeypatch.setenv("XHMTP_RESOLVER", "127.0.0.1:5")
    agent = open_client(None)
    assert agent.settings.domains == {}
    assert recipient_keys.known(agent.database, ALICE) == []
    file = tmp_path / "data" / "xhmtp" / "client.db"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert str(agent.settings.resolver[0].port) == "5"


def test_settings_that_are_named_are_used_with_domains_or_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    file = tmp_path / "mine.toml"
    file.write_text('database = "sqlite:///mine.db"\n')
    assert open_client(str(file)).database.file == tmp_path / "mine.db"
    monkeypatch.setenv("XHMTP_CONFIG", str(file))
    assert open_client(None).database.file == tmp_path / "mine.db"
    file.write_text('database = "sqlite:///mine.db"\n[domain."a.example"]\n')
    assert list(open_client(None).settings.domains) == ["a.example"]
    assert not (tmp_path / "data").exists()
    with pytest.raises(SettingsError):
        open_client(str(tmp_path / "missing.toml"))


def test_an_agent_still_needs_a_domain(tmp_path: Path):
    with pytest.raises(SettingsError, match="no domain"):
        Settings.load({})
    file = tmp_path / "mine.toml"
    file.write_text("")
    with pytest.raises(SettingsError, match="no domain"):
        Settings.load(file)
