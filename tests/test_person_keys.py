"""xhmtp key, for people: keys to sign with, to seal to, and for mail, from made to taken back."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Text, cast, func, select

from tests.gpg_home import gpg_home
from tests.live.delivery import sender
from tests.live.servers import AgentServer, need
from tests.test_openpgp_key import KEY, armoured, packet
from tests.test_ssh_signature import keygen
from tests.test_trust_commands import one_line
from xhmtp_wsgi import preferences
from xhmtp_wsgi.commands import person_keys
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Identity, parse_identities
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.sender import openpgp_keys, sealing_keys

ALICE = Endpoint.parse("alice@a.example")
WHO = str(ALICE)
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


@pytest.fixture
def a(tmp_path: Path) -> AgentServer:
    """alice's agent; only its commands are run."""
    return sender(tmp_path, 1)


def published(a: AgentServer) -> list[str]:
    """The keys that messages to alice are sealed to."""
    return [str(one) for one in sealing_keys.recipients_of(a.agent().database, ALICE)]


def written(directory: Path, name: str, text: str | bytes) -> str:
    """A file; its path."""
    (directory / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(directory / name)


# Handed in


def test_recipients_are_published_from_a_file_as_age_reads_it(a: AgentServer, tmp_path: Path):
    one, two = (str(Identity.generate().recipient) for _ in range(2))
    file = written(tmp_path, "keys.txt", f"# mine\n{one}\r\n\n  {two}\n")
    told = a.must("xhmtp", "key", "add", WHO, file)
    assert told.count(f"messages to {WHO} are sealed to age1") == 2
    assert set(published(a)) == {one, two}
    assert "publishes that key already" in one_line(a.run("xhmtp", "key", "add", WHO, file), 1)
    three = str(Identity.generate().recipient)
    a.must("xhmtp", "key", "add", WHO, "-", typed=f"{one}\n{three}\n")
    assert set(published(a)) == {one, two, three}
    four = str(Identity.generate().recipient)
    a.must("xhmtp", "key", "add", "--replace", WHO, "-", typed=f"{one}\n{four}\n")
    assert set(published(a)) == {one, four}, "these, and no others"


def test_of_an_identity_only_the_public_half_is_stored(a: AgentServer, tmp_path: Path):
    file = tmp_path / "key.txt"
    subprocess.run([need("age-keygen"), "-o", str(file)], check=True, capture_output=True)
    (identity,) = parse_identities(file.read_text())
    told = a.must("xhmtp", "key", "add", WHO, str(file))
    assert "the file holds the secret key as well: that was not stored" in told
    assert published(a) == [str(identity.recipient)]
    assert identity.text() not in told
    kept = (a.directory / "a.example.db").read_bytes()
    for wal in a.directory.glob("a.example.db-*"):
        kept += wal.read_bytes()
    assert str(identity.recipient).encode() in kept
    assert identity.text().encode() not in kept
    assert identity.secret not in kept


def test_keys_to_seal_to_are_of_one_kind(a: AgentServer, tmp_path: Path):
    plain, hybrid = (str(Identity.generate(post_quantum=pq).recipient) for pq in (False, True))
    both = written(tmp_path, "both", f"{plain}\n{hybrid}\n")
    assert "two kinds" in one_line(a.run("xhmtp", "key", "add", WHO, both), 1)
    assert published(a) == []
    a.must("xhmtp", "key", "add", WHO, written(tmp_path, "plain", plain))
    other = written(tmp_path, "hybrid", hybrid)
    assert "another kind" in one_line(a.run("xhmtp", "key", "add", WHO, other), 1)
    assert published(a) == [plain]
    assert "(post-quantum)" in a.must("xhmtp", "key", "add", "--replace", WHO, other)
    assert published(a) == [hybrid]


def test_there_are_ten_keys_at_most_and_none_of_a_file_that_has_more(
    a: AgentServer, tmp_path: Path
):
    lines = "".join(f"{Identity.generate().recipient}\n" for _ in range(11))
    file = written(tmp_path, "eleven", lines)
    assert "more than 10 keys" in one_line(a.run("xhmtp", "key", "add", WHO, file), 1)
    assert published(a) == []


def test_an_openpgp_key_is_published_where_the_domain_has_a_directory(
    a: AgentServer, tmp_path: Path
):
    with gpg_home() as home:
        told = home.make_key(
            "Alice \N{SNOWMAN} <Alice@A.Example>", algorithm="ed25519", usage="sign"
        )
        file = written(tmp_path, "alice.asc", home.export(told, "--armor"))
        binary = home.export(told)
    printed = a.must("xhmtp", "key", "add", WHO, file)
    assert f"the OpenPGP key of {WHO} is {told}" in printed
    assert "names in it: Alice \N{SNOWMAN} <Alice@A.Example>" in printed
    assert "web_key_directory of a.example is not on" in printed
    settings = a.settings.read_text() + "web_key_directory = true\n"
    a.settings.write_text(settings)
    printed = a.must("xhmtp", "key", "add", WHO, written(tmp_path, "alice.gpg", binary))
    assert "it is found at https://a.example/.well-known/openpgpkey/hu/" in printed
    key = openpgp_keys.get(a.agent().database, ALICE)
    assert key is not None
    assert (key.fingerprint, key.octets) == (told, binary)


def test_what_stands_in_a_key_does_not_work_on_the_terminal(a: AgentServer, tmp_path: Path):
    hostile = packet(13, b"\x1b[31malice@a.example\n\xe2\x80\xaeevil") + packet(13, WHO.encode())
    printed = a.must("xhmtp", "key", "add", WHO, written(tmp_path, "x", KEY + hostile))
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    assert len(printed.splitlines()) == 3


WRONG: dict[str, tuple[str | bytes, str]] = {
    "an OpenSSH secret key": ("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n", "keep it to yourself"),
    "an OpenPGP secret key": (
        armoured(KEY).replace(b"PUBLIC", b"PRIVATE"), "keep it to yourself"
    ),
    "another's OpenPGP key": (KEY + packet(13, b"bob@b.example"), "no User ID of the key has"),
    "no OpenPGP key": (b"\xcd\x00", "begins with a public key"),
    "an identity sealed by age": (b"age-encryption.org/v1\n-> scrypt x 18\n", "grep -o 'age1.*'"),
    "a plugin's key": ("age1yubikey1qwerty", "not a key to seal to"),
    "a broken key": (str(Identity.generate().recipient)[:-1], "not a key to seal to"),
    "a broken secret key": ("AGE-SECRET-KEY-1QQQQ", "not a secret key"),
    "a word": ("hello", "a key is one of"),
    "nothing": ("", "a key is one of"),
    "much": (b"x" * (1 << 20), "8 KiB"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_published_is_refused_in_one_line(a: AgentServer, tmp_path: Path, name: str):
    octets, told = WRONG[name]
    done = a.run("xhmtp", "key", "add", WHO, written(tmp_path, "file", octets))
    assert told in one_line(done, 1)
    assert len(done.stderr.splitlines()) == 1
    assert "publishes no key" in a.must("xhmtp", "key", "list", WHO)


def test_a_key_is_handed_in_for_somebody(a: AgentServer, tmp_path: Path):
    file = written(tmp_path, "key.pub", SSH)
    assert "name the file" in one_line(a.run("xhmtp", "key", "add", WHO), 2)
    done = a.run("xhmtp", "key", "add", "nobody@a.example", file)
    assert "has no account here" in one_line(done, 1)
    assert "an ADDRESS" in one_line(a.run("xhmtp", "key", "add", "a.example", file), 2)
    assert "an ADDRESS" in one_line(a.run("xhmtp", "key", "add", "a.example", "--replace"), 2)
    done = a.run("xhmtp", "key", "add", WHO, str(tmp_path / "nowhere"))
    assert "nowhere" in one_line(done, 2)


# Listed, and taken back


def test_all_that_is_published_is_listed_and_taken_back(a: AgentServer, tmp_path: Path):
    assert a.must("xhmtp", "key", "list", WHO).startswith(f"{WHO} publishes no key; 'xhmtp key add")
    keygen("-t", "ed25519", "-N", "", "-f", str(tmp_path / "ssh"))
    a.must("xhmtp", "key", "add", WHO, f"{tmp_path}/ssh.pub")
    one = str(Identity.generate().recipient)
    a.must("xhmtp", "key", "add", WHO, "-", typed=one)
    pgp = KEY + packet(13, WHO.encode())
    told = a.must("xhmtp", "key", "add", WHO, written(tmp_path, "pgp", pgp))
    fingerprint = told.splitlines()[0].rpartition(" ")[2]
    titles, *lines = a.must("xhmtp", "key", "list", WHO).splitlines()
    assert titles.split() == ["FOR", "KEY"]
    assert re.fullmatch(r"signs      SHA256:\S+  ssh-ed25519 AAAA\S+", lines[0])
    assert lines[1:] == [f"sealed to  {one}", f"OpenPGP    {fingerprint}"]
    for key in (lines[0].split()[1], one, fingerprint):
        told = a.must("xhmtp", "key", "retire", WHO, key)
        assert told == f"{key} is taken back\n"
        assert "publishes no key" in one_line(a.run("xhmtp", "key", "retire", WHO, key), 1) or (
            "has no key" in a.run("xhmtp", "key", "retire", WHO, key).stderr
        )
    assert "publishes no key" in a.must("xhmtp", "key", "list", WHO)


def test_a_post_quantum_key_is_shown_short_and_taken_back_so(a: AgentServer):
    key = str(Identity.generate(post_quantum=True).recipient)
    a.must("xhmtp", "key", "add", WHO, "-", typed=key)
    line = a.must("xhmtp", "key", "list", WHO).splitlines()[1]
    assert len(line) < 80
    shown = line.split()[2]
    assert key.startswith(shown.partition("...")[0])
    a.must("xhmtp", "key", "retire", WHO, shown)
    assert published(a) == []


@pytest.mark.parametrize("key", ["", "x", "age1", "SHA256:x", "0x12345678", "SHA256"])
def test_a_key_that_is_not_there_is_not_taken_back(a: AgentServer, key: str):
    a.must("xhmtp", "key", "add", WHO, "-", typed=str(Identity.generate().recipient))
    one_line(a.run("xhmtp", "key", "retire", WHO, key), 1)
    assert len(published(a)) == 1


def test_with_an_account_its_keys_go(a: AgentServer, tmp_path: Path):
    for name, octets in (
        ("ssh", SSH.encode()),
        ("age", str(Identity.generate().recipient).encode()),
        ("pgp", KEY + packet(13, WHO.encode())),
    ):
        a.must("xhmtp", "key", "add", WHO, written(tmp_path, name, octets))
    agent = a.agent()
    preferences.put(agent.database, ALICE, "keep", "known")
    assert rows_of(agent.database, WHO) == {"author_key", "sealing_key", "openpgp_key",
                                            "preference", "account"}  # fmt: skip
    a.must("xhmtp", "user", "remove", WHO, "--yes")
    assert rows_of(agent.database, WHO) == set()


def rows_of(database: Any, address: str) -> set[str]:
    """The tables in which an address stands."""
    with database.reading() as connection:
        return {
            table.name
            for table in metadata.sorted_tables
            for column in table.columns
            if isinstance(column.type, Text)
            and connection.execute(
                select(func.count()).select_from(table).where(cast(column, Text) == address)
            ).scalar_one()
        }


def test_keys_of_somebody_who_is_known_under_capitals_are_the_same(a: AgentServer):
    agent = a.agent()
    assert person_keys.person(agent, "ALICE@A.EXAMPLE") == ALICE
