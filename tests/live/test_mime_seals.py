"""Mail programs' own seals and signatures, PGP/MIME and S/MIME: they pass as they were made.

gpg and openssl make them, and verify and open what arrives; octet by octet it is what was sent.
"""

import email.policy
import random
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.gpg_home import GPGHome, gpg_home
from tests.live.delivery import name_server, sender
from tests.live.servers import PREFIX, AgentServer, need, running
from tests.world import basic
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.recipient import mailbox
from xhmtp_wsgi.recipient.mailbox import Wanted

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("mime_seals")]

ALICE, BOB = "alice@a.example", "bob@b.example"


@dataclass
class Sites:
    """alice's agent and bob's."""

    a: AgentServer
    b: AgentServer
    directory: Path

    def passed(self, message: bytes) -> bytes:
        """What bob fetches of what alice has handed in; his Maildir gets the same."""
        request = urllib.request.Request(
            f"{self.a.url}/{PREFIX}/alice/", message,
            {"Content-Type": "message/rfc822", "Authorization": basic(ALICE, "wonderland")},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 201
        assert self.a.must("xhmtp-notify") == ""
        found = mailbox.listed(self.b.agent().database, Endpoint.parse(BOB), Wanted(), limit=1)
        url = MessageURL.parse(found[0].url)
        fetched = self.a.curl(
            "--user", f"{BOB}:{url.code}", f"http://{url.host}:{url.port}{url.path}"
        )
        maildir = self.directory / "Maildir"
        done = self.b.run("xhmtp", "fetch", BOB, "--maildir", str(maildir))
        assert (done.returncode, done.stderr) == (0, "")
        newest = max((maildir / "new").iterdir(), key=lambda file: file.stat().st_mtime_ns)
        local = newest.read_bytes().replace(b"\r\n", b"\n")
        assert local.endswith(message.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n"))
        return fetched.stdout


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    path = tmp_path_factory.mktemp("openpgp")
    with name_server() as dns:
        a = sender(path, dns.port)
        b = AgentServer("b.example", "127.0.0.2", path / "b", dns.port)
        b.agent().accounts.add(Endpoint.parse(BOB), "builder")
        dns.set_zone(a.records() + b.records())
        with running(a, b):
            yield Sites(a, b, path)


@pytest.fixture(scope="module")
def gpg() -> Iterator[GPGHome]:
    """A keyring in which alice and bob have their keys."""
    with gpg_home() as home:
        for who in (f"Alice <{ALICE}>", f"Bob <{BOB}>"):
            home.make_key(who)
        yield home


def inner() -> bytes:
    """A part as a mail program makes it: what a changed octet would break is in it."""
    message = EmailMessage(policy=email.policy.SMTP)
    message.set_content(
        "Dear Bob,\n\nFrom here on \N{SNOWMAN}  \n.\n-- \nAlice\n", cte="quoted-printable"
    )
    message.add_attachment(bytes(range(256)) * 20, maintype="application", subtype="octet-stream")
    message.set_boundary("=_inner")
    return message.as_bytes()


def outer(kind: str, body: bytes) -> bytes:
    """The message around a part; nothing is left to be added to its header."""
    return (
        f"From: Alice <{ALICE}>\r\nTo: {BOB}\r\nSubject: a test of {kind.partition(';')[0]}\r\n"
        "Date: Sat, 07 Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{random.randrange(10**12)}@a.example>\r\n"
        f"MIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n"
    ).encode() + body


def parts(message: bytes, boundary: str) -> list[bytes]:
    """The parts of a message as octets: those that a signature is over."""
    edge = f"\r\n--{boundary}".encode()
    return [part.partition(b"\r\n")[2] for part in message.split(edge)[1:-1]]


def test_a_pgp_mime_message_that_is_signed_arrives_and_verifies(sites: Sites, gpg: GPGHome):
    """RFC 3156, section 5."""
    signed = inner().rstrip(b"\r\n") + b"\r\n"
    signature = gpg.run("--local-user", ALICE, "--digest-algo", "SHA512", "--armor",
                        "--detach-sign", given=signed).stdout  # fmt: skip
    body = (
        b"This is an OpenPGP/MIME signed message (RFC 4880 and 3156)\r\n--=_x\r\n" + signed
        + b"\r\n--=_x\r\nContent-Type: application/pgp-signature; name=signature.asc\r\n\r\n"
        + signature.replace(b"\n", b"\r\n") + b"\r\n--=_x--\r\n"
    )  # fmt: skip
    kind = (
        "multipart/signed; micalg=pgp-sha512;\r\n "
        'protocol="application/pgp-signature"; boundary="=_x"'
    )
    message = outer(kind, body)
    arrived = sites.passed(message)
    assert arrived == message, "octet by octet"
    first, second = parts(arrived, "=_x")
    (sites.directory / "part").write_bytes(first)
    found = second.partition(b"\r\n\r\n")[2]
    (sites.directory / "signature.asc").write_bytes(found)
    names = [str(sites.directory / name) for name in ("signature.asc", "part")]
    done = gpg.run("--status-fd", "1", "--verify", *names)
    assert b"GOODSIG" in done.stdout
    assert f"VALIDSIG {gpg.fingerprints(ALICE)[0]}".encode() in done.stdout
    (sites.directory / "part").write_bytes(first.replace(b"Dear", b"dear"))
    assert b"BADSIG" in gpg.run("--status-fd", "1", "--verify", *names, fails=True).stdout


def test_a_pgp_mime_message_that_is_encrypted_arrives_and_decrypts(sites: Sites, gpg: GPGHome):
    """RFC 3156, section 4."""
    part = inner()
    sealed = gpg.run("--trust-model", "always", "--local-user", ALICE, "--recipient", BOB,
                     "--armor", "--sign", "--encrypt", given=part).stdout  # fmt: skip
    body = (
        b"--=_y\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
        b"\r\n--=_y\r\nContent-Type: application/octet-stream; name=encrypted.asc\r\n\r\n"
        + sealed.replace(b"\n", b"\r\n") + b"\r\n--=_y--\r\n"
    )  # fmt: skip
    kind = 'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="=_y"'
    message = outer(kind, body)
    arrived = sites.passed(message)
    assert arrived == message, "octet by octet"
    found = parts(arrived, "=_y")[-1].partition(b"\r\n\r\n")[2]
    opened = gpg.run("--status-fd", "2", "--decrypt", given=found)
    assert opened.stdout == part
    assert b"GOODSIG" in opened.stderr


@pytest.fixture(scope="module")
def certificates(sites: Sites) -> Path:
    """alice's and bob's certificates for S/MIME: alice.pem, bob.pem with their secret keys."""
    for who in (ALICE, BOB):
        name = sites.directory / f"{who.partition('@')[0]}.pem"
        openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={who}",
            "-addext", f"subjectAltName=email:{who}", "-keyout", str(name), "-out", f"{name}.crt",
        )  # fmt: skip
        with name.open("ab") as file:
            file.write(Path(f"{name}.crt").read_bytes())
    return sites.directory


def openssl(*arguments: str, given: bytes = b"") -> bytes:
    """Runs openssl."""
    done = subprocess.run(
        [need("openssl"), *arguments], input=given, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def with_envelope(made: bytes) -> bytes:
    """What openssl wrote, with the header of a whole message; all lines end in CRLF."""
    text = re.sub(rb"\r?\n", b"\r\n", made)
    block, _, body = text.partition(b"\r\n\r\n")
    fields = [one for one in re.split(rb"\r\n(?!\s)", block) if b"MIME-Version" not in one]
    kind = next(one for one in fields if one.startswith(b"Content-Type"))
    others = b"".join(one + b"\r\n" for one in fields if one != kind)
    whole = outer(kind.partition(b": ")[2].decode(), body)
    return whole.replace(b"MIME-Version", others + b"MIME-Version", 1)


def test_an_s_mime_message_that_is_signed_arrives_and_verifies(sites: Sites, certificates: Path):
    alice = str(certificates / "alice.pem")
    made = openssl("cms", "-sign", "-signer", alice, "-inkey", alice, "-crlfeol", given=inner())
    message = with_envelope(made)
    assert b"multipart/signed" in message
    arrived = sites.passed(message)
    assert arrived == message, "octet by octet"
    verify = ("cms", "-verify", "-CAfile", f"{alice}.crt")
    assert openssl(*verify, given=arrived) == inner()
    with pytest.raises(AssertionError, match="content verify error"):
        openssl(*verify, given=arrived.replace(b"Dear", b"dear"))


def test_an_s_mime_message_that_is_encrypted_arrives_and_decrypts(sites: Sites, certificates: Path):
    bob = str(certificates / "bob.pem")
    made = openssl("cms", "-encrypt", "-aes256", "-binary", f"{bob}.crt", given=inner())
    message = with_envelope(made)
    assert b"application/pkcs7-mime" in message
    arrived = sites.passed(message)
    assert arrived == message, "octet by octet"
    opened = openssl("cms", "-decrypt", "-recip", f"{bob}.crt", "-inkey", bob, given=arrived)
    assert opened == inner()
