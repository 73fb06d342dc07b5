"""A mailbox in a Maildir: each message once, whole or not at all, flags in step, nothing forged."""

import email
import mailbox as python_mailbox
import multiprocessing
import os
import random
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.message import Message
from itertools import product
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.world import ALICE, BOB, World
from xhmtp_wsgi.errors import DatabaseUnavailable, Forbidden, Malformed, StorageFull
from xhmtp_wsgi.maildir import fetching
from xhmtp_wsgi.maildir import files as files_module
from xhmtp_wsgi.maildir.fetching import Event, Wish
from xhmtp_wsgi.maildir.files import STATE, InUse, Maildir, opened
from xhmtp_wsgi.maildir.local import whole_message
from xhmtp_wsgi.maildir.state import Body
from xhmtp_wsgi.recipient import mailbox, reading
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.mailbox import TRASH, Wanted
from xhmtp_wsgi.recipient.notice_text import fields_of
from xhmtp_wsgi.recipient.reading import ReadMessage
from xhmtp_wsgi.recipient.verdict import Check
from xhmtp_wsgi.sender import outbox


def send(world: World, subject: str, *lines: str, body: str = "Dear Bob") -> None:
    extra = "".join(f"{line}\r\n" for line in lines)
    world.inject(
        f"From: alice@a.example\r\nTo: bob@b.example\r\nSubject: {subject}\r\n{extra}\r\n{body}\r\n"
        .encode()
    )  # fmt: skip
    world.notify()


def fetch(world: World, path: Path, wish: Wish | None = None) -> list[Event]:
    agent = world.b.agent

    def open_message(notice: Notice) -> ReadMessage:
        return reading.read(agent, BOB, notice)

    return list(fetching.fetch(agent, BOB, path, open_message, wish or Wish()))


def files(path: Path) -> list[Path]:
    return sorted([*(path / "new").iterdir(), *(path / "cur").iterdir()])


def messages(path: Path) -> list[Message]:
    return [email.message_from_bytes(file.read_bytes()) for file in files(path)]


def subjects(path: Path) -> list[str]:
    return sorted(str(message["Subject"]) for message in messages(path))


def notice(world: World, subject: str) -> Notice:
    found = mailbox.listed(world.b.agent.database, BOB, Wanted(folder=None), limit=100)
    return next(one for one in found if fields_of(one)["subject"] == subject)


def mark(
    world: World, subject: str, *, seen: bool | None = None, starred: bool | None = None
) -> None:
    database, identifier = world.b.agent.database, [notice(world, subject).identifier]
    if seen is not None:
        mailbox.set_seen(database, BOB, identifier, 1.0, seen=seen)
    if starred is not None:
        mailbox.set_starred(database, BOB, identifier, 1.0, starred=starred)


def rename(path: Path, letters: str) -> Path:
    """What a reader does with a file."""
    name = path.name.partition(":")[0]
    return path.rename(path.parents[1] / "cur" / f"{name}:2,{letters}")


@pytest.fixture
def bobs(tmp_path: Path) -> Path:
    return tmp_path / "Mail" / "bob"


# Once each, and whole


def test_what_is_new_comes_once_each_in_the_order_in_which_it_came(world: World, bobs: Path):
    for number in range(3):
        send(world, f"m{number}")
    assert [event.notice.position for event in fetch(world, bobs)] == [1, 2, 3]
    assert subjects(bobs) == ["m0", "m1", "m2"]
    assert fetch(world, bobs) == []
    send(world, "m3")
    assert [event.body for event in fetch(world, bobs)] == [Body.WHOLE]
    assert subjects(bobs) == ["m0", "m1", "m2", "m3"]
    assert [message.get_subdir() for message in python_mailbox.Maildir(bobs)] == ["new"] * 4


def test_a_message_is_there_as_it_was_sent_with_what_was_found_of_it(
    sqlite_world: World, bobs: Path
):
    send(sqlite_world, "hello", "X-Own: kept", body="Dear Bob,\r\n\r\nGrüße")
    fetch(sqlite_world, bobs)
    (file,) = files(bobs)
    octets = file.read_bytes()
    assert b"\r" not in octets
    assert octets.endswith("\n\nDear Bob,\n\nGrüße\n".encode())
    (message,) = messages(bobs)
    assert message["X-Own"] == "kept"
    assert message["Delivered-To"] == "bob@b.example"
    assert message["XHMTP-ID"] == notice(sqlite_world, "hello").identifier
    checks = message.get_all("XHMTP-Check")
    assert checks is not None
    assert [check.partition(" ")[0] for check in checks] == [
        "origin=pass", "agent=pass", "signature=none", "digest=pass", "author=none",
    ]  # fmt: skip
    assert stat_of(file) == 0o600


def stat_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_what_its_reader_deleted_does_not_come_again(sqlite_world: World, bobs: Path):
    send(sqlite_world, "gone")
    fetch(sqlite_world, bobs)
    files(bobs)[0].unlink()
    assert fetch(sqlite_world, bobs) == []
    assert files(bobs) == []


def test_what_is_in_the_trash_in_quarantine_or_deleted_does_not_come(
    sqlite_world: World, bobs: Path
):
    for subject in ("trash", "deleted", "kept"):
        send(sqlite_world, subject)
    database = sqlite_world.b.agent.database
    mailbox.move(database, BOB, [notice(sqlite_world, "trash").identifier], TRASH)
    mailbox.delete(database, BOB, [notice(sqlite_world, "deleted").identifier], 1.0)
    fetch(sqlite_world, bobs)
    assert subjects(bobs) == ["kept"]


def test_two_maildirs_of_one_mailbox_know_nothing_of_each_other(sqlite_world: World, bobs: Path):
    send(sqlite_world, "both")
    other = bobs.parent / "other"
    fetch(sqlite_world, bobs)
    fetch(sqlite_world, other)
    assert subjects(bobs) == subjects(other) == ["both"]


def test_a_maildir_that_is_moved_takes_with_it_what_it_knows(sqlite_world: World, bobs: Path):
    send(sqlite_world, "one")
    fetch(sqlite_world, bobs)
    moved = bobs.rename(bobs.parent / "moved")
    files(moved)[0].unlink()
    assert fetch(sqlite_world, moved) == []


# Killed, and two at once


@pytest.mark.parametrize(
    "step", ["while it is written", "before the rename", "after the rename", "after a header"]
)
def test_a_run_that_is_killed_leaves_nothing_half_and_loses_nothing(
    sqlite_world: World, bobs: Path, step: str, monkeypatch: pytest.MonkeyPatch
):
    for number in range(3):
        send(sqlite_world, f"m{number}")
    if step == "after a header":
        fetch(sqlite_world, bobs, Wish(headers_only=True))

    def work() -> None:
        # Killed with the second message.
        count = 0
        if step == "while it is written":
            write = files_module._write

            def killed_within(path: Path, octets: bytes) -> None:
                nonlocal count
                count += 1
                write(path, octets if count < 2 else octets[:10])
                if count == 2:
                    os.kill(os.getpid(), signal.SIGKILL)

            monkeypatch.setattr(files_module, "_write", killed_within)
        elif step == "before the rename":
            rename_file = Path.rename

            def killed(self: Path, target: Path) -> Path:
                nonlocal count
                count += 1
                if count == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                return rename_file(self, target)

            monkeypatch.setattr(Path, "rename", killed)
        else:
            deliver = Maildir.deliver

            def killed_after(self: Maildir, *arguments: object, **options: object) -> object:
                nonlocal count
                deliver(self, *arguments, **options)  # type: ignore[arg-type]
                count += 1
                if count == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                return None

            monkeypatch.setattr(Maildir, "deliver", killed_after)
        fetch(sqlite_world, bobs)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert all(b"Subject: " in file.read_bytes() for file in files(bobs))
    fetch(sqlite_world, bobs)
    assert subjects(bobs) == ["m0", "m1", "m2"]
    assert [message.is_multipart() for message in messages(bobs)] == [False] * 3
    assert list((bobs / "tmp").iterdir()) == []
    assert fetch(sqlite_world, bobs) == []


def test_a_second_run_at_the_same_time_does_nothing(sqlite_world: World, bobs: Path):
    send(sqlite_world, "one")
    with opened(bobs), pytest.raises(InUse):
        fetch(sqlite_world, bobs)
    assert len(fetch(sqlite_world, bobs)) == 1


def test_two_processes_bring_each_message_once(sqlite_world: World, bobs: Path):
    for number in range(20):
        send(sqlite_world, f"m{number:02}")

    def work() -> None:
        for _ in range(10):
            with suppress(InUse):
                fetch(sqlite_world, bobs)

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert subjects(bobs) == [f"m{number:02}" for number in range(20)]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: path.write_text("x"), Malformed),
        (lambda path: (path.mkdir(), (path / "letter.txt").write_text("x")), Malformed),
        (lambda path: path.symlink_to("/proc/self"), (Malformed, Forbidden)),
    ],
)
def test_what_is_no_maildir_is_left_alone(
    sqlite_world: World,
    tmp_path: Path,
    make: Callable[[Path], object],
    error: type[Exception],
):
    path = tmp_path / "other"
    make(path)
    before = sorted(path.iterdir()) if path.is_dir() else []
    send(sqlite_world, "one")
    with pytest.raises(error):
        fetch(sqlite_world, path)
    if path.is_dir():
        assert sorted(path.iterdir()) == before or path.is_symlink()


def test_a_full_disk_leaves_no_half_message_and_the_next_run_goes_on(
    sqlite_world: World, bobs: Path, monkeypatch: pytest.MonkeyPatch
):
    send(sqlite_world, "one")
    fetch(sqlite_world, bobs)
    send(sqlite_world, "two")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StorageFull):
        patch.setattr(os, "fsync", full)
        fetch(sqlite_world, bobs)
    assert list((bobs / "tmp").iterdir()) == []
    assert subjects(bobs) == ["one"]
    fetch(sqlite_world, bobs)
    assert subjects(bobs) == ["one", "two"]


def test_a_state_of_a_newer_program_is_not_touched(sqlite_world: World, bobs: Path):
    send(sqlite_world, "one")
    fetch(sqlite_world, bobs)
    with sqlite3.connect(bobs / STATE) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(DatabaseUnavailable, match="newer"):
        fetch(sqlite_world, bobs)


# What is not to be had


def down(world: World) -> object:
    return world.network.hosts.pop("server.a.example")


def test_what_is_not_to_be_had_says_so_once_and_is_tried_again(sqlite_world: World, bobs: Path):
    send(sqlite_world, "one")
    server = down(sqlite_world)
    (event,) = fetch(sqlite_world, bobs)
    assert (event.body, event.is_news) == (Body.NOTHING, True)
    assert "not there" in event.reason
    assert files(bobs) == []
    (event,) = fetch(sqlite_world, bobs)
    assert not event.is_news, "the same is no news"
    assert fetch(sqlite_world, bobs) == [], "not at every run for ever"
    sqlite_world.network.hosts["server.a.example"] = server
    sqlite_world.clock.now += 301
    (event,) = fetch(sqlite_world, bobs)
    assert (event.body, event.reason) == (Body.WHOLE, "")
    assert subjects(bobs) == ["one"]


def test_what_was_withdrawn_says_so(sqlite_world: World, bobs: Path):
    send(sqlite_world, "regretted")
    (message,) = outbox.sent(sqlite_world.a.agent.database, ALICE, limit=1, skip=0)
    outbox.withdraw(sqlite_world.a.agent.database, message.identifier, sqlite_world.clock.now)
    (event,) = fetch(sqlite_world, bobs)
    assert "withdrawn" in event.reason


def test_an_agent_that_is_down_is_asked_once_a_run(sqlite_world: World, bobs: Path):
    for number in range(5):
        send(sqlite_world, f"m{number}")
    down(sqlite_world)
    asked = []
    get = sqlite_world.network.get

    def counted(*arguments: object, **options: object) -> object:
        asked.append(arguments)
        return get(*arguments, **options)  # type: ignore[arg-type]

    sqlite_world.network.get = counted  # type: ignore[method-assign,assignment]
    assert len(fetch(sqlite_world, bobs)) == 5
    assert len(asked) == 1


def test_a_header_stands_in_until_the_body_is_to_be_had(sqlite_world: World, bobs: Path):
    send(sqlite_world, "later", "Message-ID: <later@a.example>")
    server = down(sqlite_world)
    (event,) = fetch(sqlite_world, bobs, Wish(stand_ins=True))
    assert (event.body, bool(event.reason)) == (Body.HEADER, True)
    (message,) = messages(bobs)
    assert message["Subject"] == "later"
    assert message["Message-ID"] == "<later@a.example>"
    assert "not there" in message["XHMTP-Body-Missing"]
    kinds = [part.get_content_type() for part in message.walk()]
    assert "message/external-body" in kinds
    external = next(
        part for part in message.walk() if part.get_content_type() == "message/external-body"
    )
    assert external.get_param("access-type") == "URL"
    # Its reader has seen it, and flagged it.
    rename(files(bobs)[0], "FS")
    sqlite_world.network.hosts["server.a.example"] = server
    (event,) = fetch(sqlite_world, bobs, Wish(stand_ins=True))
    assert event.body is Body.WHOLE
    (file,) = files(bobs)
    assert file.name.endswith(":2,FS")
    assert b"Dear Bob" in file.read_bytes()
    assert notice(sqlite_world, "later").seen_at is not None


def test_headers_only_fetches_nothing_and_tells_no_sender(sqlite_world: World, bobs: Path):
    send(sqlite_world, "one")
    down(sqlite_world)
    (event,) = fetch(sqlite_world, bobs, Wish(headers_only=True))
    assert (event.body, event.reason) == (Body.HEADER, "")
    assert subjects(bobs) == ["one"]
    assert fetch(sqlite_world, bobs, Wish(headers_only=True)) == []


def test_a_header_that_its_reader_deleted_is_not_followed_by_its_body(
    sqlite_world: World, bobs: Path
):
    send(sqlite_world, "unwanted")
    fetch(sqlite_world, bobs, Wish(headers_only=True))
    files(bobs)[0].unlink()
    assert fetch(sqlite_world, bobs) == []
    assert files(bobs) == []


# Flags


def test_flags_go_both_ways(sqlite_world: World, bobs: Path):
    for subject in ("here", "there", "both"):
        send(sqlite_world, subject)
    fetch(sqlite_world, bobs)
    by_subject = dict(zip(("here", "there", "both"), files(bobs), strict=True))
    named = {
        message["Subject"]: file for message, file in zip(messages(bobs), files(bobs), strict=True)
    }
    assert set(named) == set(by_subject)
    rename(named["here"], "FRS")
    mark(sqlite_world, "there", seen=True, starred=True)
    rename(named["both"], "S")
    mark(sqlite_world, "both", seen=True)
    fetch(sqlite_world, bobs)
    here, there, both = (notice(sqlite_world, subject) for subject in ("here", "there", "both"))
    assert here.seen_at is not None
    assert here.starred_at is not None
    assert both.seen_at is not None
    ends = {message["Subject"]: file.name.partition(":2,")[2]
            for message, file in zip(messages(bobs), files(bobs), strict=True)}  # fmt: skip
    assert ends == {"here": "FRS", "there": "FS", "both": "S"}
    # And back.
    mark(sqlite_world, "here", seen=False)
    rename(next(file for file in files(bobs) if there.identifier in file.name), "")
    fetch(sqlite_world, bobs)
    ends = {message["Subject"]: file.name.partition(":2,")[2]
            for message, file in zip(messages(bobs), files(bobs), strict=True)}  # fmt: skip
    assert ends == {"here": "FR", "there": "", "both": "S"}
    there = notice(sqlite_world, "there")
    assert (there.seen_at, there.starred_at) == (None, None)
    before = files(bobs)
    fetch(sqlite_world, bobs)
    assert files(bobs) == before, "what is in step stays as it is"


def test_what_was_seen_before_comes_as_seen(sqlite_world: World, bobs: Path):
    send(sqlite_world, "one")
    mark(sqlite_world, "one", seen=True)
    fetch(sqlite_world, bobs)
    (file,) = files(bobs)
    assert (file.parent.name, file.name[-3:]) == ("cur", "2,S")


def test_after_each_run_both_sides_say_what_was_said_last(sqlite_world: World, bobs: Path):
    send(sqlite_world, "one")
    fetch(sqlite_world, bobs)
    steps = list(product(("file", "mailbox"), (False, True), (False, True))) * 4
    random.Random(0).shuffle(steps)
    for side, seen, starred in steps:
        if side == "file":
            rename(files(bobs)[0], ("F" if starred else "") + ("S" if seen else ""))
        else:
            mark(sqlite_world, "one", seen=seen, starred=starred)
        fetch(sqlite_world, bobs)
        found = notice(sqlite_world, "one")
        letters = files(bobs)[0].name.partition(":2,")[2]
        assert (found.seen_at is not None, found.starred_at is not None) == (seen, starred)
        assert ("S" in letters, "F" in letters) == (seen, starred)


# What strangers wrote

CHECKS = (Check("origin", "fail", "it came\r\nX-Forged: from elsewhere"),)


def local(world: World, octets: bytes) -> bytes:
    return whole_message(octets, BOB, notice(world, "one"), CHECKS)


@pytest.fixture
def one(sqlite_world: World) -> Iterator[World]:
    send(sqlite_world, "one")
    yield sqlite_world


FORGED = b"XHMTP-Check: origin=pass (forged)\r\nDelivered-To: mallory@x.example\r\nStatus: RO\r\n"


@pytest.mark.parametrize(
    "octets",
    [
        b"Subject: x\r\n" + FORGED + b"\r\nbody",
        FORGED + b"Subject: x\r\n\r\nbody",
        FORGED.replace(b":", b" :") + b"\r\nbody",
        FORGED.upper() + b"\r\nbody",
        FORGED.replace(b"\r\n", b"\n") + b"\nbody",
        b"Subject: x\r" + FORGED.replace(b"\r\n", b"\r") + b"\r\n\r\nbody",
        b"Subject: x\r\n \r\n" + FORGED + b"\r\nbody",
        b"Subject: x\r\n\t\r\n" + FORGED + b"\r\nbody",
        b"Subject: x\r\nno field\r\n" + FORGED + b"\r\nbody",
        b" \r\n" + FORGED + b"\r\nbody",
        b"\r\n" + FORGED + b"\r\nbody",
        b"Subject: x\r\n\r\r\n" + FORGED,
        b"Subject: x\r\n\0\r\n" + FORGED,
        b"From alice Mon\r\n" + FORGED + b"\r\nbody",
        b"X-XHMTP-Check: origin=pass\r\n\r\n",
        FORGED.rstrip(b"\r\n"),
        b"",
    ],
)
def test_no_sender_can_say_what_we_found(one: World, octets: bytes):
    message = email.message_from_bytes(local(one, octets))
    assert message.get_all("XHMTP-Check") == ["origin=fail (it came X-Forged: from elsewhere)"]
    assert message.get_all("Delivered-To") == ["bob@b.example"]
    for name in ("Status", "X-Forged", "X-XHMTP-Check"):
        assert name not in message


@given(
    st.lists(
        st.one_of(
            st.sampled_from([b"XHMTP-Check: x", b"Delivered-To : x", b"Subject: s", b" fold", b"",
                             b" ", b"junk", b"\r", b"status:RO", b"\0", b"x-mozilla-status: 9"]),
            st.binary(max_size=12),
        ),
        max_size=9,
    ),
    st.sampled_from([b"\r\n", b"\n", b"\r", b"\n\r"]),
)  # fmt: skip
@example([b"Subject: s", b"\x0b", b"XHMTP-Check: x"], b"\r\n")
def test_whatever_comes_only_ours_is_ours(lines: list[bytes], end: bytes):
    found = Notice("a" * 26, 1, "http://x", b"", None, None, "", (), 1.0)
    message = email.message_from_bytes(whole_message(end.join(lines), BOB, found, CHECKS))
    assert len(message.get_all("XHMTP-Check") or ()) == 1
    assert message.get_all("Delivered-To") == ["bob@b.example"]
    assert "Status" not in message
    assert "X-Mozilla-Status" not in message
