"""xhmtp unseal: what is whole is opened; what was changed, cut or swapped leaves nothing behind."""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from tests.at_terminal import CODE, at_terminal
from tests.command_process import start_command
from tests.live.servers import need, until
from xhmtp_wsgi.commands import identity_files as identity_files_module
from xhmtp_wsgi.commands.xhmtp import main
from xhmtp_wsgi.protocol.sealed_message import as_message
from xhmtp_wsgi.protocol.sealing import (
    HYBRID,
    X25519,
    Identity,
    Recipient,
    armoured,
    seal,
    seal_with_passphrase,
)

CHUNK = (64 << 10) + 16  # octets of a sealed chunk
BOB, OTHER = Identity(X25519, b"b" * 32), Identity(X25519, b"o" * 32)
QUANTUM = Identity(HYBRID, b"q" * 32)
MESSAGE = (
    b"From: Alice <alice@a.example>\r\nTo: bob@b.example\r\nSubject: the lamplighter\r\n"
    b"Message-ID: <one@a.example>\r\n\r\n" + b"Meet at the viaduct.\r\n" * 9000
)
OUTSIDE = (
    b"From: alice@a.example\r\nMessage-ID: <one@a.example>\r\nContent-Type: application/age\r\n"
)


def sealed(octets: bytes, *recipients: Recipient) -> bytes:
    return b"".join(seal([octets], recipients or (BOB.recipient,)))


SEALED = sealed(MESSAGE)
PAYLOAD = SEALED.index(b"\n---") + SEALED[SEALED.index(b"\n---") + 1 :].index(b"\n") + 2 + 16
"""Where the first chunk begins."""


@pytest.fixture(autouse=True)
def no_identity_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    monkeypatch.delenv("XHMTP_IDENTITY", raising=False)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory with bob's key, and one to write into."""
    (tmp_path / "out").mkdir()
    write_key(tmp_path / "bob.txt", BOB)
    write_key(tmp_path / "other.txt", OTHER)
    yield tmp_path
    for file in tmp_path.glob("**/.*"):
        pytest.fail(f"{file} is left")


def write_key(path: Path, *identities: Identity) -> None:
    write(path, ("# a key\n\n" + "".join(f"{one.text()}\n" for one in identities)).encode())


def write(path: Path, octets: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(octets)


def unseal(place: Path, octets: bytes, *arguments: str, key: str = "bob.txt") -> Result:
    """Opens these octets; to a file if nothing else is said."""
    (place / "given").write_bytes(octets)
    given = [str(place / "given"), "--identity", str(place / key)]
    return CliRunner().invoke(
        main, ["unseal", *given, *(arguments or ("--output", str(place / "out" / "message")))]
    )


def refused(place: Path, result: Result) -> str:
    """The line that says why; nothing else has happened."""
    assert result.exit_code == 1, result.output
    assert result.stdout_bytes == b""
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert list((place / "out").iterdir()) == []
    return line.removeprefix("Error: ")


def written(place: Path) -> bytes:
    (file,) = (place / "out").iterdir()
    assert file.name == "message"
    assert file.stat().st_mode & 0o777 == 0o600
    return file.read_bytes()


# What is whole


@pytest.mark.parametrize("identity", [BOB, QUANTUM], ids=["x25519", "post-quantum"])
@pytest.mark.parametrize("form", ["binary", "armoured"])
@pytest.mark.parametrize("size", [0, 1, CHUNK - 16, CHUNK, 3 * (CHUNK - 16), 300_000])
def test_what_is_whole_is_opened(place: Path, identity: Identity, form: str, size: int):
    write_key(place / "key", identity)
    octets = os.urandom(size)
    given = sealed(octets, identity.recipient)
    if form == "armoured":
        given = b"".join(armoured([given]))
    result = unseal(place, given, "--output", str(place / "out" / "message"), key="key")
    assert (result.exit_code, result.output) == (0, "")
    assert written(place) == octets
    printed = unseal(place, given, "--output", "-", key="key")
    assert (printed.exit_code, printed.stdout_bytes, printed.stderr) == (0, octets, "")


@pytest.mark.parametrize("armour", [[], ["--armor"]])
def test_what_age_seals_is_opened(place: Path, armour: list[str]):
    age = need("age")
    given = subprocess.run(
        [age, *armour, "-r", str(BOB.recipient)], input=MESSAGE, capture_output=True, check=True
    ).stdout
    assert unseal(place, given).exit_code == 0
    assert written(place) == MESSAGE


def test_it_is_read_from_standard_input(place: Path):
    key = ["--identity", str(place / "bob.txt")]
    for arguments in (["unseal", *key], ["unseal", "-", *key]):
        result = CliRunner().invoke(main, arguments, input=SEALED)
        assert result.stdout_bytes == MESSAGE


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
def test_a_message_that_holds_one_is_opened(place: Path, newline: bytes):
    octets = as_message(b"XHMTP-ID: x\r\n" + OUTSIDE, SEALED).replace(b"\r\n", newline)
    assert unseal(place, octets).exit_code == 0
    assert written(place) == MESSAGE


def test_a_message_as_it_is_handed_in_is_opened(place: Path):
    assert unseal(place, OUTSIDE + b"\r\n" + SEALED).exit_code == 0
    assert written(place) == MESSAGE


def test_any_of_several_keys_in_several_files_will_do(place: Path):
    write_key(place / "several", QUANTUM, OTHER)
    more = ["--identity", str(place / "bob.txt"), "--output", str(place / "out" / "message")]
    assert unseal(place, SEALED, *more, key="several").exit_code == 0
    assert written(place) == MESSAGE


def test_a_file_that_is_there_is_replaced_when_all_is_well_and_only_then(place: Path):
    there = place / "out" / "message"
    there.write_bytes(b"before")
    there.chmod(0o644)
    assert unseal(place, SEALED[:-1]).exit_code == 1
    assert there.read_bytes() == b"before"
    assert unseal(place, SEALED).exit_code == 0
    assert written(place) == MESSAGE


def test_a_link_is_followed_and_stays(place: Path):
    (place / "link").symlink_to(place / "out" / "message")
    assert unseal(place, SEALED, "--output", str(place / "link")).exit_code == 0
    assert written(place) == MESSAGE
    assert (place / "link").is_symlink()


@pytest.mark.parametrize("there", ["directory", "pipe"])
def test_what_is_no_file_is_not_replaced(place: Path, there: str):
    path = place / "thing"
    path.mkdir() if there == "directory" else os.mkfifo(path)
    result = unseal(place, SEALED, "--output", str(path))
    assert "no file that could be replaced" in refused(place, result)
    assert not path.is_file()


# What is not


def without_stanza(octets: bytes, which: int) -> bytes:
    """An age file with one of its stanzas taken out."""
    stanzas = re.findall(rb"-> [^\n]+\n[^\n]{1,63}\n", octets[: octets.index(b"\n---") + 1])
    return octets.replace(stanzas[which], b"", 1)


TWO = sealed(MESSAGE, BOB.recipient, OTHER.recipient)
CHANGED, CUT = "changed on the way", "cut off"
DAMAGED: dict[str, tuple[bytes, str]] = {
    "an octet of the first chunk": (SEALED[:PAYLOAD] + b"X" + SEALED[PAYLOAD + 1 :], CHANGED),
    "an octet of the second chunk": (
        SEALED[: PAYLOAD + CHUNK + 9] + b"XX" + SEALED[PAYLOAD + CHUNK + 11 :],
        CHANGED,
    ),
    "the last octet": (SEALED[:-1] + bytes([SEALED[-1] ^ 1]), CHANGED),
    "two chunks change places": (
        SEALED[:PAYLOAD]
        + SEALED[PAYLOAD + CHUNK : PAYLOAD + 2 * CHUNK]
        + SEALED[PAYLOAD : PAYLOAD + CHUNK]
        + SEALED[PAYLOAD + 2 * CHUNK :],
        CHANGED,
    ),
    "cut at a chunk's edge": (SEALED[: PAYLOAD + 2 * CHUNK], "its end is missing"),
    "cut within a chunk": (SEALED[: PAYLOAD + CHUNK + 99], CUT),
    "cut before its content": (SEALED[:PAYLOAD], CUT),
    "cut in its header": (SEALED[: PAYLOAD - 60], "header is cut off"),
    "cut in its armour": (b"".join(armoured([SEALED]))[:-200], "armour is cut off"),
    "something is appended": (SEALED + b"X" * 99, CHANGED),
    "another's stanza is taken out": (without_stanza(TWO, 1), "its header is not whole"),
    "his own stanza is taken out": (without_stanza(TWO, 0), "to none of the keys"),
    "it is sealed to another": (sealed(MESSAGE, OTHER.recipient), "to none of the keys"),
    "another author is inside": (
        as_message(OUTSIDE, sealed(MESSAGE.replace(b"alice@", b"mallory@"))),
        "another message was put into this one: inside, it is from Alice <mallory@a.example>",
    ),
    "another message is inside": (
        as_message(OUTSIDE, sealed(MESSAGE.replace(b"<one@", b"<other@"))),
        "another message was put into this one: inside, it has another Message-ID",
    ),
    "no message is inside": (as_message(OUTSIDE, sealed(b"a letter")), "is no message"),
    "it is not sealed": (MESSAGE, "no age file"),
    "nothing": (b"", "no age file"),
    "a header alone": (OUTSIDE, "no age file"),
    "an octet of the version": (SEALED.replace(b"/v1", b"/v2", 1), "no age file"),
    "it is encoded once more": (
        OUTSIDE + b"Content-Transfer-Encoding: base64\r\n\r\nYWdl",
        "encoded as base64",
    ),
}


@pytest.mark.parametrize("to", ["file", "standard output"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_what_is_damaged_says_so_and_leaves_nothing(place: Path, damage: str, to: str):
    octets, words = DAMAGED[damage]
    result = unseal(place, octets, *(["--output", "-"] if to == "standard output" else []))
    assert words in refused(place, result)


def test_changed_cut_taken_out_and_swapped_are_told_apart(place: Path):
    kinds = (
        "an octet of the first chunk", "cut at a chunk's edge", "another's stanza is taken out",
        "his own stanza is taken out", "another message is inside", "it is not sealed",
        "something is appended",
    )  # fmt: skip
    said = {refused(place, unseal(place, DAMAGED[kind][0])) for kind in kinds}
    assert len(said) == len(kinds)


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255), st.booleans())
def test_whatever_octet_is_changed_nothing_is_shown(place_: None, at: int, flip: int, cut: bool):
    octets = bytearray(SEALED)
    octets[at] ^= flip
    given = bytes(octets[:at] if cut else octets)
    arguments = ["unseal", "--identity", str(KEY)]
    result = CliRunner().invoke(main, arguments, input=given)
    assert (result.exit_code, result.stdout_bytes) == (1, b"")
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr.splitlines()) == 1


KEY = Path(os.environ.get("TMPDIR", "/tmp")) / f"xhmtp-test-key-{os.getpid()}"


@pytest.fixture(scope="module")
def place_() -> Iterator[None]:
    """A key that is there for all examples."""
    write_key(KEY, BOB)
    yield
    KEY.unlink()


# Killed, and out of room


@pytest.mark.parametrize("signal", ["kill", "terminate"])
def test_a_run_that_is_killed_in_the_middle_leaves_nothing(place: Path, signal: str):
    pipe = place / "pipe"
    os.mkfifo(pipe)
    big = sealed(os.urandom(4 << 20))
    command = start_command(
        "xhmtp", "unseal", str(pipe), "--identity", str(place / "bob.txt"),
        "--output", str(place / "out" / "message"),
    )  # fmt: skip
    with pipe.open("wb", buffering=0) as file:
        file.write(big[: 3 << 20])
        # What it has read it has written, where it is to be in the end.
        opened = Path(f"/proc/{command.pid}/fd")
        until(
            lambda: any(
                "/out/" in str(one.readlink()) and one.stat().st_size > 2 << 20
                for one in opened.iterdir()
            ),
            "most of it is written",
        )
        getattr(command, signal)()
        assert command.wait() != 0
    assert list((place / "out").iterdir()) == []


def test_a_full_disk_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "no room left" in refused(place, unseal(place, SEALED))


def test_a_directory_that_is_not_there_is_told(place: Path):
    result = unseal(place, SEALED, "--output", str(place / "nowhere" / "message"))
    assert "No such file or directory" in refused(place, result)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_file_system_without_unnamed_files_will_do(
    place: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
):
    opened = os.open

    def old(path: str, flags: int, mode: int = 0o777, **options: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return opened(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", old)
    result = unseal(place, SEALED[:-1] if damaged else SEALED)
    if damaged:
        assert "changed" in refused(place, result)
    else:
        assert (result.exit_code, written(place)) == (0, MESSAGE)


def test_a_large_one_takes_no_more_memory_than_a_small_one(place: Path):
    def most(size: int, *arguments: str) -> int:
        """Octets of memory that it took."""
        given = place / "large"
        with given.open("wb") as file:
            for piece in seal((b"x" * 65536 for _ in range(size >> 16)), [BOB.recipient]):
                file.write(piece)
        with Path(os.devnull).open("wb") as nowhere:
            process = subprocess.Popen(
                [sys.executable, "-c", CODE, "unseal", str(given),
                 "--identity", str(place / "bob.txt"), *arguments],
                stdout=nowhere,
            )  # fmt: skip
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss << 10

    to_file = ("--output", str(place / "out" / "message"))
    small = most(1 << 20, *to_file)
    assert most(96 << 20, *to_file) < small + (16 << 20)
    assert (place / "out" / "message").stat().st_size == 96 << 20
    assert most(96 << 20) < small + (16 << 20)


# Keys


def protected(identity: Identity, passphrase: str, *, armour: bool) -> bytes:
    octets = b"".join(seal_with_passphrase([f"{identity.text()}\n".encode()], passphrase, 10))
    return b"".join(armoured([octets])) if armour else octets


@pytest.mark.parametrize("armour", [False, True])
def test_a_key_with_a_passphrase_asks_for_it_at_the_terminal(place: Path, armour: bool):
    write(place / "locked", protected(BOB, "through the glass", armour=armour))
    (place / "given").write_bytes(SEALED)
    arguments = ("unseal", "given", "--identity", "locked")
    done = at_terminal(place, *arguments, typed="through the glass")
    assert (done.code, done.printed) == (0, MESSAGE)
    assert done.screen.count("Passphrase of locked") == 1
    assert "through the glass" not in done.screen
    done = at_terminal(place, *arguments, typed="wrong")
    assert (done.code, done.printed) == (1, b"")
    assert "locked is not opened by that passphrase" in done.screen


def test_what_age_protects_with_a_passphrase_is_a_key(place: Path):
    """As `age -p` makes it: scrypt with its own work factor."""
    octets = b"".join(seal_with_passphrase([f"{BOB.text()}\n".encode()], "glass", 18))
    write(place / "locked", octets)
    (place / "given").write_bytes(SEALED)
    done = at_terminal(place, "unseal", "given", "--identity", "locked", typed="glass")
    assert (done.code, done.printed) == (0, MESSAGE)


def test_where_nobody_can_be_asked_it_says_so(place: Path):
    write(place / "locked", protected(BOB, "glass", armour=False))
    assert "no terminal to ask for the passphrase of" in refused(
        place, unseal(place, SEALED, key="locked")
    )


NO_KEYS = {
    "empty": (b"", "has no secret key in it"),
    "a comment": (b"# a comment\n", "has no secret key in it"),
    "a public key": (f"{BOB.recipient}\n".encode(), "this is not a secret key"),
    "an SSH key": (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "this is not a secret key"),
    "no text": (b"\xff\xfe", "no file of secret keys"),
    "mistyped": (BOB.text().encode()[:-1] + b"\n", "this is not a secret key"),
    "large": (b"#" * (identity_files_module.MOST + 1), "is larger than"),
}


@pytest.mark.parametrize("kind", NO_KEYS)
def test_what_is_no_key_is_told_of_by_the_name_of_its_file(place: Path, kind: str):
    content, said = NO_KEYS[kind]
    write(place / "key", content)
    line = refused(place, unseal(place, SEALED, key="key"))
    assert said in line
    assert str(place / "key") in line
    assert BOB.text()[20:] not in line


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_key_that_others_may_read_is_told_of(place: Path, mode: int, warns: bool):
    (place / "bob.txt").chmod(mode)
    result = unseal(place, SEALED)
    assert result.exit_code == 0
    assert ("others may read" in result.stderr) is warns
    assert result.stdout == ""


def test_the_key_may_be_named_by_the_environment_or_lie_where_it_is_meant_to(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    def run() -> Result:
        return CliRunner().invoke(main, ["unseal"], input=SEALED)

    assert "no key is given" in refused(place, run())
    (place / "nothing" / "xhmtp").mkdir(parents=True)
    shutil.copy(place / "bob.txt", place / "nothing" / "xhmtp" / "identity.txt")
    assert run().stdout_bytes == MESSAGE
    monkeypatch.setenv("XHMTP_IDENTITY", str(place / "other.txt"))
    assert "to none of the keys" in refused(place, run())
    monkeypatch.setenv("XHMTP_IDENTITY", str(place / "missing"))
    assert "No such file" in refused(place, run())


def test_without_a_key_it_says_how(place: Path):
    line = refused(place, CliRunner().invoke(main, ["unseal"], input=SEALED))
    assert "--identity" in line


@pytest.mark.parametrize("arguments", [["nowhere"], ["--identity", "nowhere"]])
def test_a_file_that_is_not_there_is_a_wrong_use(arguments: list[str]):
    result = CliRunner().invoke(main, ["unseal", *arguments])
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
