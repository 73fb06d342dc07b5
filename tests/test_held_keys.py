"""Keys that an agent holds: opened by their owner's password, and by nothing in the database."""

import os
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from tests.world import BOB, World
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import (
    Duplicate,
    Forbidden,
    Malformed,
    NotAuthenticated,
    NotFound,
    TooMany,
)
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Identity, Passphrase, unseal
from xhmtp_wsgi.recipient import held_keys
from xhmtp_wsgi.secret_box import OVERHEAD, SecretBox, opened_by_any
from xhmtp_wsgi.sessions import BESIDE_GOOD_FOR, GOOD_FOR, MOST_UNLOCKED, Sessions, sessions

CHERYL = Endpoint.parse("cheryl@b.example")
PASSWORD = "builder of boats"


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt with a hundredth of its work: half a second is long for a test."""
    monkeypatch.setattr(held_keys, "WORK_FACTOR", 10)


@pytest.fixture
def database(world: World) -> Database:
    """bob's agent's."""
    return world.b.agent.database


def kept(database: Database) -> list[bytes]:
    """What the table has of keys."""
    with database.reading() as connection:
        return list(connection.execute(select(held_keys.held_keys.c.sealed)).scalars())


@pytest.mark.parametrize("post_quantum", [False, True])
def test_a_key_is_opened_by_its_password_alone(database: Database, post_quantum: bool):
    identity = Identity.generate(post_quantum=post_quantum)
    held_keys.give(database, BOB, identity, PASSWORD, 1.0)
    assert held_keys.unlock(database, BOB, PASSWORD) == (identity,)
    (held,) = held_keys.listed(database, BOB)
    assert (held.recipient, held.added_at) == (identity.recipient, 1.0)
    for wrong in ("", "builder of boat", PASSWORD + " ", "x" * 2000, "\ud800", "ß\0"):
        with pytest.raises(NotAuthenticated):
            held_keys.unlock(database, BOB, wrong)


def test_the_database_has_an_age_file_that_only_the_password_opens(database: Database):
    identity = Identity.generate()
    held_keys.give(database, BOB, identity, PASSWORD, 1.0)
    (octets,) = kept(database)
    assert identity.secret not in octets
    assert identity.text().encode() not in octets
    assert PASSWORD.encode() not in octets
    assert b"".join(unseal([octets], [Passphrase(PASSWORD)])) == identity.text().encode()


def test_by_default_each_guess_takes_128_mebibytes(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.undo()
    held_keys.give(sqlite_world.b.agent.database, BOB, Identity.generate(), PASSWORD, 1.0)
    (octets,) = kept(sqlite_world.b.agent.database)
    work = octets.splitlines()[1].split(b" ")[-1]
    assert work == b"17", "2^17 times 1 KiB"


def test_each_key_may_have_a_password_of_its_own(database: Database):
    first, second, third = (Identity.generate() for _ in range(3))
    held_keys.give(database, BOB, first, PASSWORD, 1.0)
    held_keys.give(database, BOB, second, "another one", 2.0)
    held_keys.give(database, BOB, third, PASSWORD, 3.0)
    assert held_keys.unlock(database, BOB, PASSWORD) == (third, first), "the newest first"
    assert held_keys.unlock(database, BOB, "another one") == (second,)


def test_a_new_password_takes_the_place_of_the_old_one_for_those_that_it_opens(
    database: Database,
):
    first, second, third = (Identity.generate() for _ in range(3))
    held_keys.give(database, BOB, first, PASSWORD, 1.0)
    held_keys.give(database, BOB, second, "another one", 2.0)
    held_keys.give(database, BOB, third, PASSWORD, 3.0)
    assert held_keys.change_password(database, BOB, PASSWORD, "a new one") == 2
    assert held_keys.unlock(database, BOB, "a new one") == (third, first)
    assert held_keys.unlock(database, BOB, "another one") == (second,)
    with pytest.raises(NotAuthenticated):
        held_keys.unlock(database, BOB, PASSWORD)
    assert held_keys.change_password(database, BOB, "wrong", "x") == 0
    with pytest.raises(Malformed):
        held_keys.change_password(database, BOB, "a new one", "")
    assert len(held_keys.unlock(database, BOB, "a new one")) == 2


def test_a_change_of_password_that_fails_changes_none(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    identities = [Identity.generate() for _ in range(2)]
    for identity in identities:
        held_keys.give(database, BOB, identity, PASSWORD, 1.0)
    real, done = held_keys._sealed, []

    def fails_at_the_second(octets: bytes, password: str) -> bytes:
        done.append(password)
        if len(done) == 2:
            raise MemoryError
        return real(octets, password)

    monkeypatch.setattr(held_keys, "_sealed", fails_at_the_second)
    with pytest.raises(MemoryError):
        held_keys.change_password(database, BOB, PASSWORD, "a new one")
    assert set(held_keys.unlock(database, BOB, PASSWORD)) == set(identities)


def test_one_that_is_damaged_leaves_the_others_to_be_opened(database: Database):
    damaged, whole = Identity.generate(), Identity.generate()
    for identity in (damaged, whole):
        held_keys.give(database, BOB, identity, PASSWORD, 1.0)
    table = held_keys.held_keys
    for octets in (b"no age file", kept(database)[0][:-1]):
        with database.transaction() as connection:
            connection.execute(
                table.update()
                .where(table.c.recipient == str(damaged.recipient))
                .values(sealed=octets)
            )
        assert held_keys.unlock(database, BOB, PASSWORD) == (whole,)


def test_nobody_has_anothers_keys(database: Database):
    identity = Identity.generate()
    held_keys.give(database, BOB, identity, PASSWORD, 1.0)
    assert held_keys.listed(database, CHERYL) == []
    assert not held_keys.has_any(database, CHERYL)
    for doing in (
        lambda: held_keys.unlock(database, CHERYL, PASSWORD),
        lambda: held_keys.take_back(database, CHERYL, str(identity.recipient)),
    ):
        with pytest.raises(NotFound):
            doing()
    held_keys.change_password(database, CHERYL, PASSWORD, "hers")
    held_keys.forget(database, CHERYL)
    assert held_keys.unlock(database, BOB, PASSWORD) == (identity,)


def test_what_is_taken_back_is_gone(database: Database):
    first, second = Identity.generate(), Identity.generate()
    for identity in (first, second):
        held_keys.give(database, BOB, identity, PASSWORD, 1.0)
    held_keys.take_back(database, BOB, str(first.recipient))
    assert held_keys.unlock(database, BOB, PASSWORD) == (second,)
    with pytest.raises(NotFound):
        held_keys.take_back(database, BOB, str(first.recipient))
    held_keys.forget(database, BOB)
    assert kept(database) == []


def test_so_many_are_held_and_each_once(database: Database):
    identity = Identity.generate()
    held_keys.give(database, BOB, identity, PASSWORD, 1.0)
    with pytest.raises(Duplicate):
        held_keys.give(database, BOB, identity, PASSWORD, 2.0)
    for _ in range(held_keys.MOST_HELD - 1):
        held_keys.give(database, BOB, Identity.generate(), PASSWORD, 1.0)
    with pytest.raises(Forbidden):
        held_keys.give(database, BOB, Identity.generate(), PASSWORD, 1.0)
    for wrong in ("", "x" * 1025, "\ud800"):
        with pytest.raises(Malformed):
            held_keys.give(database, CHERYL, identity, wrong, 1.0)


def test_passwords_are_stretched_one_at_a_time(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
):
    database = sqlite_world.b.agent.database
    held_keys.give(database, BOB, Identity.generate(), PASSWORD, 1.0)
    begun, may_end = threading.Event(), threading.Event()

    def slow(*_: object) -> bytes:
        begun.set()
        assert may_end.wait(30)
        return b""

    monkeypatch.setattr(held_keys, "_sealed", slow)
    monkeypatch.setattr(held_keys, "TURN_WAIT", 0.05)
    thread = threading.Thread(
        target=held_keys.give, args=(database, BOB, Identity.generate(), PASSWORD, 1.0)
    )
    thread.start()
    try:
        assert begun.wait(30)
        with pytest.raises(TooMany):
            held_keys.unlock(database, BOB, PASSWORD)
    finally:
        may_end.set()
        thread.join(30)
    assert held_keys.unlock(database, BOB, PASSWORD)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_that_was_forked_in_anothers_turn_has_its_own(sqlite_world: World):
    turns = held_keys._Turns()
    with turns.one():
        child = os.fork()
        if not child:
            try:
                with turns.one():
                    os._exit(0)
            finally:
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# What a session keeps unlocked


@pytest.fixture
def bobs(world: World) -> Iterator[tuple[Sessions, Agent]]:
    """The sessions of bob's agent."""
    agent = world.b.agent
    yield Sessions(agent.database, agent.clock), agent


def test_a_session_keeps_what_only_its_secret_opens(bobs: tuple[Sessions, Agent]):
    made, agent = bobs
    bob = agent.accounts.find(BOB)
    assert bob is not None
    first, second = made.begin(bob), made.begin(bob)
    assert made.unlocked(first, bob) is None
    made.keep_unlocked(first, bob, b"the keys")
    assert made.unlocked(first, bob) == b"the keys"
    assert made.unlocked(second, bob) is None
    with agent.database.reading() as connection:
        rows = connection.execute(select(sessions)).all()
    for row in rows:
        assert first.encode() not in (row.unlocked or b"")
        assert b"the keys" not in (row.unlocked or b"")
    # The box in another session's row is not opened by that one's secret.
    box = next(row.unlocked for row in rows if row.unlocked)
    with agent.database.transaction() as connection:
        connection.execute(sessions.update().values(unlocked=box))
    assert made.unlocked(second, bob) is None
    made.lock(first)
    assert made.unlocked(first, bob) is None
    assert made.account(first) == bob, "he is still logged in"


@pytest.mark.parametrize("how", ["end", "end_all", "lock_all", "time"])
def test_what_ends_a_session_locks(world: World, bobs: tuple[Sessions, Agent], how: str):
    made, agent = bobs
    bob = agent.accounts.find(BOB)
    assert bob is not None
    secrets = [made.begin(bob), made.begin_beside(bob)]
    for secret in secrets:
        made.keep_unlocked(secret, bob, b"the keys")
    match how:
        case "end":
            for secret in secrets:
                made.end(secret)
        case "end_all":
            made.end_all(bob)
        case "lock_all":
            made.lock_all(bob)
        case "time":
            world.clock.now += BESIDE_GOOD_FOR
            assert made.unlocked(secrets[1], bob) is None
            world.clock.now += GOOD_FOR - BESIDE_GOOD_FOR
    assert [made.unlocked(secret, bob) for secret in secrets] == [None, None]
    with agent.database.reading() as connection:
        left = connection.execute(select(sessions.c.unlocked)).scalars().all()
    assert how == "time" or not any(left)


def test_what_is_kept_beside_a_log_in_logs_nobody_in(bobs: tuple[Sessions, Agent]):
    made, agent = bobs
    bob = agent.accounts.find(BOB)
    assert bob is not None
    secret = made.begin_beside(bob)
    made.keep_unlocked(secret, bob, b"the keys")
    assert made.unlocked(secret, bob) == b"the keys"
    for tried in (secret, secret.removeprefix("beside-"), secret.upper()):
        assert made.account(tried) is None
    made.lock(secret)
    with agent.database.reading() as connection:
        assert connection.execute(select(sessions)).all() == []


def test_what_one_keeps_is_not_anothers_in_the_same_browser(bobs: tuple[Sessions, Agent]):
    made, agent = bobs
    agent.accounts.add(CHERYL, "another one")
    bob, cheryl = agent.accounts.find(BOB), agent.accounts.find(CHERYL)
    assert bob is not None
    assert cheryl is not None
    secret = made.begin_beside(bob)
    made.keep_unlocked(secret, bob, b"bob's")
    assert made.unlocked(secret, cheryl) is None
    made.keep_unlocked(secret, cheryl, b"cheryl's")
    assert made.unlocked(secret, bob) == b"bob's"
    with pytest.raises(ValueError, match="more than a session keeps"):
        made.keep_unlocked(secret, bob, b"x" * (MOST_UNLOCKED + 1))


# Boxes


def test_a_box_is_opened_by_its_key_at_its_place_alone():
    box = SecretBox.of(b"secret" * 4, "one purpose")
    closed = box.closed(b"words", "here")
    assert len(closed) == len(b"words") + OVERHEAD
    assert closed != box.closed(b"words", "here")
    assert box.opened(closed, "here") == b"words"
    assert box.opened(closed, "there") is None
    for place in range(len(closed)):
        changed = bytearray(closed)
        changed[place] ^= 1
        assert box.opened(bytes(changed), "here") is None
    for short in (b"", closed[:12], closed[:27], closed[:-1]):
        assert box.opened(short, "here") is None
    others = (
        SecretBox.of(b"secret" * 4, "another purpose"),
        SecretBox.of(b"Secret" * 4, "one purpose"),
    )
    assert opened_by_any(others, closed, "here") is None
    assert opened_by_any((*others, box), closed, "here") == b"words"
    assert "secret" not in repr(box)
