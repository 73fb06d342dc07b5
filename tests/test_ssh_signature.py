"""An author's own signature, with the real ssh-keygen on the other side."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xhmtp_wsgi.errors import MalformedSignature, SignatureInvalid, XHMTPError
from xhmtp_wsgi.protocol.signed_message import (
    differing_fields,
    find_signature,
    sign_message,
)
from xhmtp_wsgi.protocol.ssh_signature import NAMESPACE, PublicKey, same_key, sign, verify

DATA = b"what alice says\r\n" * 100
KEYS = {
    "ed25519": ["-t", "ed25519"],
    "ecdsa-256": ["-t", "ecdsa", "-b", "256"],
    "ecdsa-384": ["-t", "ecdsa", "-b", "384"],
    "ecdsa-521": ["-t", "ecdsa", "-b", "521"],
    "rsa": ["-t", "rsa", "-b", "2048"],
}


def keygen(*arguments: str, data: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    program = shutil.which("ssh-keygen")
    if program is None:
        pytest.skip("OpenSSH's ssh-keygen is not installed (.ci/run installs openssh-client)")
    return subprocess.run([program, *arguments], input=data, capture_output=True, check=False)


@pytest.fixture(params=KEYS)
def key(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / "key"
    done = keygen(*KEYS[request.param], "-N", "", "-C", "alice", "-f", str(file))
    assert done.returncode == 0, done.stderr
    return file


@pytest.fixture
def ed25519(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    keygen("-t", "ed25519", "-N", "", "-f", str(file))
    return file


def accepted_by_ssh(key: Path, armoured: str, data: bytes) -> bool:
    signers = key.parent / "allowed_signers"
    public = PublicKey.parse(key.with_suffix(".pub").read_text())
    signers.write_text(f'alice@a.example namespaces="{NAMESPACE}" {public.line()}\n')
    signature = key.parent / "signature"
    signature.write_text(armoured)
    done = keygen(
        "-Y", "verify", "-f", str(signers), "-I", "alice@a.example", "-n", NAMESPACE,
        "-s", str(signature), data=data,
    )  # fmt: skip
    return done.returncode == 0


def signed_by_ssh(key: Path, data: bytes, namespace: str = NAMESPACE) -> str:
    done = keygen("-Y", "sign", "-f", str(key), "-n", namespace, data=data)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_ssh_keygen_accepts_what_we_sign(key: Path):
    armoured = sign(key.read_bytes(), None, [DATA[:50], DATA[50:]])
    assert accepted_by_ssh(key, armoured, DATA)
    assert not accepted_by_ssh(key, armoured, DATA[:-1] + b"x"), "nor a changed octet"


def test_we_accept_what_ssh_keygen_signs(key: Path):
    armoured = signed_by_ssh(key, DATA)
    public = PublicKey.parse(key.with_suffix(".pub").read_text())
    assert same_key(verify(armoured, [DATA]), public)
    with pytest.raises(SignatureInvalid):
        verify(armoured, [DATA[:-1] + b"x"])


def test_a_fingerprint_is_as_ssh_keygen_prints_it(key: Path):
    public = PublicKey.parse(key.with_suffix(".pub").read_text())
    shown = keygen("-l", "-f", str(key.with_suffix(".pub"))).stdout.decode()
    assert public.fingerprint() in shown
    assert public.comment == "alice"


def test_another_namespace_is_refused(ed25519: Path):
    with pytest.raises(MalformedSignature, match="namespace"):
        verify(signed_by_ssh(ed25519, DATA, "file"), [DATA])


def test_a_key_with_a_passphrase_opens_with_it_alone(tmp_path: Path):
    file = tmp_path / "key"
    keygen("-t", "ed25519", "-N", "open it", "-f", str(file))
    armoured = sign(file.read_bytes(), b"open it", [DATA])
    assert accepted_by_ssh(file, armoured, DATA)
    for wrong in (b"another", None):
        with pytest.raises(MalformedSignature, match="cannot be opened"):
            sign(file.read_bytes(), wrong, [DATA])


@pytest.mark.parametrize(
    "line",
    ["", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA", "ssh-dss AAAAB3NzaC1kc3M=",
     'command="x" ssh-ed25519 AAAA', "ssh-ed25519-cert-v01@openssh.com AAAA", "x" * 9000,
     "ssh-ed25519 AAAA\nssh-ed25519 AAAA", "sk-ssh-ed25519@openssh.com AAAA"],
)  # fmt: skip
def test_what_is_no_key_is_refused(line: str):
    with pytest.raises(MalformedSignature):
        PublicKey.parse(line)


def test_a_short_rsa_key_is_refused(tmp_path: Path):
    file = tmp_path / "key"
    if keygen("-t", "rsa", "-b", "1024", "-N", "", "-f", str(file)).returncode:
        pytest.skip("this ssh-keygen makes no short keys")
    with pytest.raises(MalformedSignature, match="2048"):
        PublicKey.parse(file.with_suffix(".pub").read_text())


def test_a_changed_signature_never_verifies(ed25519: Path):
    armoured = signed_by_ssh(ed25519, DATA)
    lines = armoured.splitlines()
    text = "".join(lines[1:-1])
    for place in range(0, len(text), 7):
        changed = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises(XHMTPError):
            # Where base64 has bits to spare, or the key is another, it must not pass as his.
            found = verify("\n".join([lines[0], changed, lines[-1]]), [DATA])
            public = PublicKey.parse(ed25519.with_suffix(".pub").read_text())
            if same_key(found, public):
                raise MalformedSignature("the same octets")
    for cut in (armoured[: len(armoured) // 2], lines[0], "", text):
        with pytest.raises(MalformedSignature):
            verify(cut, [DATA])


@given(st.text(max_size=300))
def test_no_text_is_more_than_an_error_of_ours(text: str):
    with pytest.raises(XHMTPError):
        PublicKey.parse(text)
    with pytest.raises(XHMTPError):
        verify(text, [b""])


@given(st.binary(max_size=300))
def test_no_octets_in_armour_are_more_than_an_error_of_ours(octets: bytes):
    import base64

    text = base64.b64encode(octets).decode()
    with pytest.raises(XHMTPError):
        verify(f"-----BEGIN SSH SIGNATURE-----\n{text}\n-----END SSH SIGNATURE-----\n", [b""])


# In a message

PLAIN = b"From: alice@a.example\r\nTo: bob@b.example\r\nSubject: hi\r\n\r\nDear Bob\r\n"
MIME = (
    b"From: alice@a.example\r\nTo: bob@b.example,\r\n carol@c.example\r\nSubject: hi\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary="inner"\r\n\r\n'
    b"--inner\r\n\r\ntext\r\n--inner\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--inner--\r\n"
)


def signed(key: Path, message: bytes) -> bytes:
    return sign_message(message, lambda pieces: sign(key.read_bytes(), None, pieces), "edge123")


@pytest.mark.parametrize("message", [PLAIN, MIME, PLAIN.partition(b"Dear")[0]])
def test_a_signed_message_is_found_and_verifies(ed25519: Path, message: bytes):
    whole = signed(ed25519, message)
    parts = find_signature(whole)
    assert parts is not None
    public = PublicKey.parse(ed25519.with_suffix(".pub").read_text())
    assert same_key(verify(parts.armoured, [parts.signed]), public)
    assert accepted_by_ssh(ed25519, parts.armoured, parts.signed), "by ssh-keygen as well"
    assert differing_fields(parts, whole) == ()
    assert parts.protected["subject"] == "hi"
    assert message.partition(b"\r\n\r\n")[2] in whole


def test_python_reads_a_signed_message_as_anybody_would(ed25519: Path):
    import email
    import email.policy

    found = email.message_from_bytes(signed(ed25519, MIME), policy=email.policy.default)
    assert found.get_content_type() == "multipart/signed"
    first, second = found.iter_parts()
    assert first.get_content_type() == "multipart/mixed"
    assert second.get_content_type() == "application/x-xhmtp-ssh-signature"


@pytest.mark.parametrize("old", [b"hi\r\n\r\nDear", b"Dear", b"Bob"])
def test_a_changed_octet_in_the_signed_part_is_refused(ed25519: Path, old: bytes):
    whole = signed(ed25519, PLAIN)
    place = whole.rindex(old[-3:])
    parts = find_signature(whole[:place] + b"X" + whole[place + 1 :])
    assert parts is not None
    with pytest.raises(SignatureInvalid):
        verify(parts.armoured, [parts.signed])


def test_a_changed_field_outside_is_named(ed25519: Path):
    whole = signed(ed25519, PLAIN)
    changed = whole.replace(b"Subject: hi", b"Subject: no", 1)
    parts = find_signature(changed)
    assert parts is not None
    assert same_key(verify(parts.armoured, [parts.signed]), verify(parts.armoured, [parts.signed]))
    assert differing_fields(parts, changed) == ("subject",)


def test_a_cut_message_is_refused(ed25519: Path):
    whole = signed(ed25519, PLAIN)
    start = whole.index(b"\r\n\r\n") + 4
    for end in range(start, len(whole) - 6, 11):
        with pytest.raises(MalformedSignature):
            find_signature(whole[:end])


def test_an_unsigned_message_has_none():
    assert find_signature(PLAIN) is None
    assert find_signature(MIME) is None
    assert find_signature(b"") is None


@given(st.binary(max_size=400))
def test_no_octets_are_more_than_a_malformed_signature(octets: bytes):
    kind = (
        b'Content-Type: multipart/signed; protocol="application/x-xhmtp-ssh-signature";'
        b' boundary="e"\r\n\r\n'
    )
    for message in (octets, kind + octets, kind + b"--e\r\n" + octets):
        try:
            found = find_signature(message)
        except MalformedSignature:
            continue
        assert found is None or isinstance(found.signed, bytes)
