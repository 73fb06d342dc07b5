"""What we seal, other programs open, and what they seal we open: age, rage and age-encryption."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.servers import need
from xhmtp_wsgi.protocol.sealing import (
    Identity,
    Passphrase,
    armoured,
    parse_identities,
    seal,
    seal_with_passphrase,
    unseal,
)

NODE = Path(__file__).parents[1] / "node"
LENGTHS = [0, 1, 65_535, 65_536, 65_537, 131_072, 200_001]


def run(*arguments: str | Path, octets: bytes = b"") -> bytes:
    done = subprocess.run(arguments, input=octets, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def node(*arguments: str, octets: bytes = b"") -> bytes:
    program = need("node")
    if not (NODE / "node_modules").is_dir():
        pytest.skip("npm's age-encryption is not installed (.ci/run installs it)")
    return run(program, NODE / "age.mjs", *arguments, octets=octets)


@pytest.fixture
def key(tmp_path: Path) -> tuple[Path, Identity]:
    """A key that age-keygen has made."""
    file = tmp_path / "key.txt"
    run(need("age-keygen"), "-o", file)
    return file, parse_identities(file.read_text())[0]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("with_armour", [False, True])
def test_age_opens_what_we_seal(key: tuple[Path, Identity], length: int, with_armour: bool):
    octets = os.urandom(length)
    others = [Identity.generate().recipient for _ in range(3)]
    file = b"".join(seal([octets], [*others, key[1].recipient]))
    if with_armour:
        file = b"".join(armoured([file]))
    assert run(need("age"), "-d", "-i", key[0], octets=file) == octets


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("with_armour", [False, True])
def test_we_open_what_age_seals(key: tuple[Path, Identity], length: int, with_armour: bool):
    octets = os.urandom(length)
    recipient = str(key[1].recipient)
    assert run(need("age-keygen"), "-y", key[0]).decode().strip() == recipient
    armour = ["-a"] if with_armour else []
    file = run(need("age"), *armour, "-r", recipient, octets=octets)
    assert b"".join(unseal([file], [key[1]])) == octets


def test_age_reads_the_key_that_we_make(tmp_path: Path):
    identity = Identity.generate()
    file = tmp_path / "key.txt"
    file.write_text(f"# made by us\n{identity.text()}\n")
    assert run(need("age-keygen"), "-y", file).decode().strip() == str(identity.recipient)


@pytest.mark.parametrize("length", [0, 65_536, 200_001])
@pytest.mark.parametrize("post_quantum", [False, True])
@pytest.mark.parametrize("armour", ["", "armour"])
def test_age_encryption_and_we_open_what_the_other_seals(
    length: int, post_quantum: bool, armour: str
):
    identity, octets = Identity.generate(post_quantum=post_quantum), os.urandom(length)
    recipient = node("recipient", identity.text()).decode()
    assert recipient == str(identity.recipient)
    ours = seal([octets], [identity.recipient])
    file = b"".join(armoured(ours) if armour else ours)
    assert node("unseal", identity.text(), octets=file) == octets
    theirs = node("seal", recipient, armour, octets=octets)
    assert theirs.startswith(b"-----BEGIN") == bool(armour)
    assert b"".join(unseal([theirs], [identity])) == octets


def test_rage_opens_what_we_seal_and_we_what_it_seals():
    pyrage = pytest.importorskip("pyrage")
    identity = Identity.generate()
    its = pyrage.x25519.Identity.from_str(identity.text())
    for length in LENGTHS:
        octets = os.urandom(length)
        ours = b"".join(seal([octets], [identity.recipient]))
        assert pyrage.decrypt(ours, [its]) == octets
        theirs = pyrage.encrypt(octets, [its.to_public()])
        assert b"".join(unseal([theirs], [identity])) == octets
    # Once: rage has the passphrase cost a second each time.
    with_passphrase = pyrage.passphrase.encrypt(b"secret", "between us")
    assert b"".join(unseal([with_passphrase], [Passphrase("between us")])) == b"secret"
    sealed = b"".join(seal_with_passphrase([b"secret"], "between us", 10))
    assert pyrage.passphrase.decrypt(sealed, "between us") == b"secret"


def test_a_large_file_passes_through_in_little_memory(tmp_path: Path):
    key, plain, empty = tmp_path / "key.txt", tmp_path / "plain", tmp_path / "empty"
    key.write_text(Identity.generate().text())
    plain.write_bytes(os.urandom(1 << 20) * 128)
    empty.write_bytes(b"")

    def most_memory(what: str, source: Path, target: Path) -> int:
        module = [sys.executable, "-m", "benchmarks.sealing", "--work", what, "--key", str(key)]
        return int(run(*module, source, target))

    nothing = most_memory("seal", empty, tmp_path / "nothing")
    assert most_memory("seal", plain, tmp_path / "sealed") - nothing < 32 << 20
    assert most_memory("unseal", tmp_path / "sealed", tmp_path / "opened") - nothing < 32 << 20
    assert (tmp_path / "opened").read_bytes() == plain.read_bytes()
