"""xhmtp key generate: a new key in a file as age has them, sealed or not, and published."""

import os
import pty
import re
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.live.delivery import sender
from tests.live.servers import BIN, AgentServer, need
from tests.test_person_keys import WHO, published, written
from tests.test_trust_commands import one_line
from xhmtp_wsgi.commands import generated_key
from xhmtp_wsgi.errors import DatabaseUnavailable, Duplicate, StorageFull
from xhmtp_wsgi.protocol.sealing import HYBRID, Identity, parse_identities, seal
from xhmtp_wsgi.sender import sealing_keys


@pytest.fixture
def a(tmp_path: Path) -> AgentServer:
    """alice's agent; only its commands are run."""
    return sender(tmp_path, 1)


def at_terminal(command: Sequence[str], *typed: str) -> tuple[int, str]:
    """Runs a program at a terminal; each of these is typed when something is asked for."""
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    shown, answers = b"", list(typed)
    try:
        while octets := _read(keyboard):
            shown += octets
            if answers and shown.rstrip(b" ").endswith(b":"):
                os.write(keyboard, answers.pop(0).encode() + b"\n")
        return process.wait(timeout=60), shown.decode()
    finally:
        os.close(keyboard)
        process.kill()
        process.wait()


def _read(keyboard: int) -> bytes:
    try:
        return os.read(keyboard, 4096)
    except OSError:
        # So Linux tells that nobody has the terminal open any more.
        return b""


def generate(a: AgentServer, file: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    return a.run("xhmtp", "key", "generate", WHO, "--output", str(file), *more)


@pytest.mark.parametrize("post_quantum", [False, True])
def test_a_key_is_made_as_age_makes_it_and_published(
    a: AgentServer, tmp_path: Path, post_quantum: bool
):
    file = tmp_path / "key.txt"
    more = ("--post-quantum",) if post_quantum else ()
    told = generate(a, file, "--no-passphrase", *more).stdout
    created, public, secret = file.read_text().splitlines()
    assert re.fullmatch(r"# created: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", created)
    (identity,) = parse_identities(file.read_text())
    assert secret == identity.text()
    assert public == f"# public key: {identity.recipient}"
    assert (identity.kind == HYBRID) == post_quantum
    assert published(a) == [str(identity.recipient)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"the secret key is in {file}: keep a copy" in told
    assert f"messages to {WHO} are sealed to age1" in told
    assert secret not in told
    if not post_quantum:
        done = subprocess.run(
            [need("age-keygen"), "-y", str(file)], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(identity.recipient)
        sealed = written(tmp_path, "sealed", b"".join(seal([b"hello"], [identity.recipient])))
        opened = subprocess.run(
            [need("age"), "-d", "-i", str(file), sealed], capture_output=True, check=True
        )
        assert opened.stdout == b"hello"


def test_at_a_terminal_the_file_is_sealed_with_a_passphrase_that_age_asks_for(
    a: AgentServer, tmp_path: Path
):
    file = tmp_path / "key.age"
    command = [str(BIN / "xhmtp"), "--config", str(a.settings), "key", "generate", WHO,
               "--output", str(file)]  # fmt: skip
    code, shown = at_terminal(command, "open sesame", "open sesame")
    assert code == 0, shown
    assert "sesame" not in shown
    assert "AGE-SECRET" not in file.read_text()
    assert file.read_text().startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code, opened = at_terminal([need("age"), "-d", str(file)], "open sesame")
    assert code == 0
    secret = re.search(r"AGE-SECRET-KEY-\S+", opened)
    assert secret is not None
    assert published(a) == [str(Identity.parse(secret[0]).recipient)]
    sealed = written(
        tmp_path, "sealed", b"".join(seal([b"hello"], [Identity.parse(secret[0]).recipient]))
    )
    code, opened = at_terminal([need("age"), "-d", "-i", str(file), sealed], "open sesame")
    assert (code, "hello" in opened) == (0, True), "age takes it as it is"


def test_passphrases_that_differ_are_asked_for_again(a: AgentServer, tmp_path: Path):
    file = tmp_path / "key.age"
    command = [str(BIN / "xhmtp"), "--config", str(a.settings), "key", "generate", WHO,
               "--output", str(file)]  # fmt: skip
    code, shown = at_terminal(command, "one", "other", "three", "three")
    assert code == 0, shown
    assert "do not match" in shown
    assert at_terminal([need("age"), "-d", str(file)], "three")[0] == 0


def test_without_a_terminal_the_passphrase_is_a_line_of_input(a: AgentServer, tmp_path: Path):
    file = tmp_path / "key.age"
    a.must("xhmtp", "key", "generate", WHO, "--output", str(file), "--passphrase", typed="pass\n")
    assert at_terminal([need("age"), "-d", str(file)], "pass")[0] == 0
    other = tmp_path / "other.age"
    done = a.run(
        "xhmtp", "key", "generate", WHO, "--output", str(other), "--passphrase", typed="\n"
    )
    assert "the passphrase is empty" in one_line(done, 2)
    assert not other.exists()
    assert len(published(a)) == 1


def test_what_is_there_is_never_written_over(a: AgentServer, tmp_path: Path):
    there = tmp_path / "there"
    there.write_text("precious")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    for file in (there, link, tmp_path):
        done = generate(a, file, "--no-passphrase")
        assert "there already" in one_line(done, 1)
    assert there.read_text() == "precious"
    assert not (tmp_path / "elsewhere").exists()
    nowhere = tmp_path / "no" / "x"
    said = one_line(generate(a, nowhere, "--no-passphrase"), 1)
    assert f"{nowhere}: No such file or directory" in said
    assert published(a) == []


def test_what_comes_to_be_there_meanwhile_is_not_written_over_either(
    a: AgentServer, tmp_path: Path
):
    file = tmp_path / "key.age"

    def asked() -> str:
        file.write_text("precious")
        return "open sesame"

    told = generated_key.generate(
        a.agent(), WHO, file, post_quantum=False, passphrase=asked, replace=False
    )
    with pytest.raises(Duplicate, match="there already"):
        list(told)
    assert file.read_text() == "precious"
    assert published(a) == []


def test_a_key_that_cannot_be_published_leaves_no_file(a: AgentServer, tmp_path: Path):
    generate(a, tmp_path / "one", "--no-passphrase")
    done = generate(a, tmp_path / "two", "--no-passphrase", "--post-quantum")
    assert "another kind" in one_line(done, 1)
    assert not (tmp_path / "two").exists()
    done = a.run("xhmtp", "key", "generate", "nobody@a.example", "--output", str(tmp_path / "x"),
                 "--no-passphrase")  # fmt: skip
    assert "has no account here" in one_line(done, 1)
    assert not (tmp_path / "x").exists()
    (first,) = published(a)
    told = generate(a, tmp_path / "two", "--no-passphrase", "--post-quantum", "--replace").stdout
    assert "(post-quantum)" in told
    assert first not in published(a)
    assert len(published(a)) == 1


def test_a_key_is_on_disk_before_it_is_published(
    a: AgentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    agent, file = a.agent(), tmp_path / "key.txt"
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    def add(*_: Any, **__: Any) -> None:
        assert synced[:2] == [str(file), str(tmp_path)], "the file, then its name"
        assert "AGE-SECRET-KEY-1" in file.read_text()
        raise DatabaseUnavailable("the database is locked")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(sealing_keys, "publish", add)
    told = generated_key.generate(
        agent, WHO, file, post_quantum=False, passphrase=None, replace=False
    )
    with pytest.raises(DatabaseUnavailable, match="the secret key is in"):
        list(told)
    assert file.exists(), "it may have been published"


def test_a_full_disk_leaves_nothing(
    a: AgentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    agent, file = a.agent(), tmp_path / "key.txt"
    monkeypatch.setattr(os, "fsync", full)
    told = generated_key.generate(
        agent, WHO, file, post_quantum=False, passphrase=None, replace=False
    )
    with pytest.raises(StorageFull, match="no room"):
        list(told)
    assert not file.exists()
    monkeypatch.undo()
    assert published(a) == []
