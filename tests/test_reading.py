"""Reading: the digest is compared, the author's signature verified, his key remembered."""

from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests.test_ssh_signature import keygen
from tests.world import ALICE, BOB, MESSAGE, World, call
from xhmtp_wsgi.errors import (
    ConnectionFailed,
    Duplicate,
    Forbidden,
    Gone,
    NotFound,
    TooLarge,
    XHMTPError,
)
from xhmtp_wsgi.network import HTTPAnswer
from xhmtp_wsgi.protocol.signed_message import sign_message
from xhmtp_wsgi.protocol.ssh_signature import PublicKey, sign
from xhmtp_wsgi.recipient import inbox, reading
from xhmtp_wsgi.recipient.reading import ReadMessage
from xhmtp_wsgi.recipient.verdict import Check
from xhmtp_wsgi.sender import author_keys, outbox
from xhmtp_wsgi.sender.tables import pieces


def new_key(directory: Path, name: str) -> Path:
    file = directory / name
    keygen("-t", "ed25519", "-N", "", "-f", str(file))
    return file


def register(world: World, key: Path) -> None:
    public = PublicKey.parse(key.with_suffix(".pub").read_text())
    author_keys.add_key(world.a.agent.database, ALICE, public, world.clock())


def send(world: World, key: Path | None, subject: bytes = b"hello") -> None:
    message = MESSAGE.replace(b"hello", subject)
    if key is not None:
        secret = key.read_bytes()
        message = sign_message(message, lambda given: sign(secret, None, given), "edge42")
    world.inject(message)
    assert world.notify().notified == 1


def read(world: World) -> ReadMessage:
    """The newest message in bob's inbox, as his side reads it."""
    database = world.b.agent.database
    newest = inbox.state(database, BOB).last_position
    (notice,) = inbox.page(database, BOB, newest=newest, limit=1)
    return reading.read(world.b.agent, BOB, notice)


def author(world: World) -> Check:
    return read(world).checks[1]


def test_an_unsigned_message_is_read_and_said_to_be_so(world: World):
    send(world, None)
    found = read(world)
    assert found.octets.endswith(b"Dear Bob\r\n")
    assert [(check.name, check.result) for check in found.checks] == [
        ("digest", "pass"), ("author", "none"),
    ]  # fmt: skip


def test_a_signed_message_passes_and_its_key_is_remembered(world: World, tmp_path: Path):
    key = new_key(tmp_path, "key")
    register(world, key)
    send(world, key)
    first = author(world)
    assert (first.result, "first seen now" in first.reason) == ("pass", True)
    send(world, key, b"again")
    again = author(world)
    assert (again.result, "the key known" in again.reason) == ("pass", True)


def test_a_key_that_changes_is_named(world: World, tmp_path: Path):
    old, new = new_key(tmp_path, "old"), new_key(tmp_path, "new")
    register(world, old)
    send(world, old)
    assert author(world).result == "pass"
    register(world, new)
    send(world, new, b"with a new key")
    changed = author(world)
    assert changed.result == "fail"
    for key in (old, new):
        fingerprint = PublicKey.parse(key.with_suffix(".pub").read_text()).fingerprint()
        assert fingerprint in changed.reason
    reading.trust(world.b.agent, BOB, read(world).octets)
    assert author(world).result == "pass"


def test_a_key_that_is_not_published_is_nobodys(world: World, tmp_path: Path):
    register(world, new_key(tmp_path, "hers"))
    send(world, new_key(tmp_path, "mallorys"))
    assert author(world).result == "fail"
    assert "does not publish" in author(world).reason


def test_what_is_signed_by_another_name_fails(world: World, tmp_path: Path):
    key = new_key(tmp_path, "key")
    register(world, key)
    secret = key.read_bytes()
    signed = sign_message(MESSAGE, lambda given: sign(secret, None, given), "edge42")
    world.inject(signed.replace(b"Subject: hello", b"Subject: changed", 1))
    world.notify()
    assert (author(world).result, author(world).reason) == ("fail", "changed on the way: subject")


def test_a_message_altered_since_is_not_shown(world: World):
    send(world, None)
    with world.a.agent.database.transaction() as connection:
        stored = connection.execute(select(pieces.c.octets)).scalar_one()
        connection.execute(update(pieces).values(octets=stored.replace(b"Bob", b"Eve")))
    with pytest.raises(Forbidden, match="changed since"):
        read(world)


def test_a_withdrawn_message_is_gone(world: World):
    send(world, None)
    (stored,) = outbox.sent(world.a.agent.database, ALICE, limit=1, skip=0)
    outbox.withdraw(world.a.agent.database, stored.identifier, world.clock())
    with pytest.raises(Gone):
        read(world)


def test_without_the_authors_agent_nothing_is_said_for_sure(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    key = new_key(tmp_path, "key")
    register(world, key)
    send(world, key)
    real = world.network.get

    def get(target, path, headers, **options):
        if path.endswith("/keys"):
            return HTTPAnswer(500, {}, b"")
        return real(target, path, headers, **options)

    monkeypatch.setattr(world.network, "get", get)
    assert author(world).result == "none"


def test_keys_are_published_in_both_forms(world: World, tmp_path: Path):
    key = new_key(tmp_path, "key")
    register(world, key)
    public = PublicKey.parse(key.with_suffix(".pub").read_text())
    plain = call(world.a, "/xhmtp/alice@a.example/keys")
    assert (plain.status_int, plain.text) == (
        200, f"# keys of alice@a.example\n# signs: {public.line()}\n",
    )  # fmt: skip
    for_ssh = call(world.a, "/xhmtp/alice%40a.example/keys?form=allowed-signers")
    assert for_ssh.text == f'alice@a.example namespaces="xhmtp" {public.line()}\n'
    signers = tmp_path / "allowed"
    signers.write_text(for_ssh.text)
    signature = tmp_path / "signature"
    signature.write_text(sign(key.read_bytes(), None, [b"x"]))
    done = keygen("-Y", "verify", "-f", str(signers), "-I", "alice@a.example", "-n", "xhmtp",
                  "-s", str(signature), data=b"x")  # fmt: skip
    assert done.returncode == 0


def test_who_has_no_key_and_who_is_not_there_look_alike(world: World):
    answers = {
        (answer.status_int, answer.text.replace(name, "NAME"))
        for name in ("alice", "nobody")
        for answer in [call(world.a, f"/xhmtp/{name}@a.example/keys")]
    }
    assert answers == {(200, "# keys of NAME@a.example\n")}
    assert call(world.a, "/xhmtp/bob@other.example/keys").status_int == 421


def test_a_message_larger_than_is_read_is_not_cut(world: World, monkeypatch: pytest.MonkeyPatch):
    send(world, None)
    monkeypatch.setattr(reading, "MOST", 10)
    real = world.network.get

    def get(target, path, headers, *, most=0, **options):
        answer = real(target, path, headers, **options)
        return HTTPAnswer(answer.status, {}, answer.body[:most], len(answer.body) > most)

    monkeypatch.setattr(world.network, "get", get)
    with pytest.raises(TooLarge):
        read(world)


def test_a_user_has_so_many_keys_and_each_once(world: World, tmp_path: Path):
    keys = [new_key(tmp_path, f"key{number}") for number in range(11)]
    for key in keys[:10]:
        register(world, key)
    with pytest.raises(Forbidden, match="has 10 keys"):
        register(world, keys[10])
    public = PublicKey.parse(keys[0].with_suffix(".pub").read_text())
    author_keys.remove_key(world.a.agent.database, ALICE, public.fingerprint())
    with pytest.raises(Duplicate):
        register(world, keys[1])


def test_a_message_that_is_told_to_be_too_large_is_not_asked_for(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
):
    send(sqlite_world, None)
    monkeypatch.setattr(reading, "MOST", 10)
    monkeypatch.setattr(sqlite_world.network, "get", None)
    with pytest.raises(TooLarge):
        read(sqlite_world)


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, ConnectionFailed), (503, ConnectionFailed), (429, ConnectionFailed), (401, NotFound),
     (404, NotFound), (206, NotFound), (302, NotFound), (410, Gone)],
)  # fmt: skip
def test_what_the_senders_agent_answers_tells_whether_to_try_again(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch, status: int, error: type[XHMTPError]
):
    send(sqlite_world, None)
    monkeypatch.setattr(sqlite_world.network, "get", lambda *_, **__: HTTPAnswer(status, {}, b""))
    with pytest.raises(error):
        read(sqlite_world)


def test_one_deadline_holds_for_the_message_and_its_authors_keys(
    sqlite_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world, waits = sqlite_world, []
    key = new_key(tmp_path, "key")
    register(world, key)
    send(world, key)
    real = world.network.get

    def get(*arguments, within=None, **options):
        waits.append(within)
        world.clock.now += 7
        return real(*arguments, **options)

    monkeypatch.setattr(world.network, "get", get)
    newest = inbox.state(world.b.agent.database, BOB).last_position
    (notice,) = inbox.page(world.b.agent.database, BOB, newest=newest, limit=1)
    found = reading.read(world.b.agent, BOB, notice, within=20.0)
    assert found.checks[1].result == "pass"
    assert waits == [20.0, 13.0]
    waits.clear()
    with world.b.agent.database.transaction() as connection:
        connection.execute(reading.known_authors.delete())
    reading.read(world.b.agent, BOB, notice, within=5.0)
    assert waits == [5.0, reading.LEAST_PATIENCE]
