"""Web servers that do as scripted, on raw sockets, and throwaway certificates."""

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Script = Callable[["Visit"], object]


class Visit:
    """One connection, as the script of a server sees it."""

    def __init__(self, server: "WebServer", connection: socket.socket, number: int) -> None:
        self.server = server
        self.connection = connection
        self.number = number
        self._stream = connection.makefile("rb")

    def request(self) -> bytes:
        """The next request with its body; empty where the other side has closed."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self._stream.readline()
            if not line:
                return b""
            head += line
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        whole = head + self._stream.read(length)
        self.server.requests.append(whole)
        return whole

    def send(self, octets: bytes) -> None:
        self.connection.sendall(octets)

    def drip(self, octets: bytes, pause: float = 0.05) -> None:
        """Sends an octet now and then, until the other side has enough or the server stops."""
        for place in range(len(octets)):
            self.send(octets[place : place + 1])
            if self.server.stopping.wait(pause):
                return
        self.server.finished.set()

    def keep_silent(self) -> None:
        """Says nothing for long, until the server stops."""
        if not self.server.stopping.wait(25):
            self.server.finished.set()

    def reset(self) -> None:
        """Ends the connection with RST."""
        linger = b"\x01\0\0\0\0\0\0\0"
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._stream.close()
        self.connection.close()


class WebServer:
    """Runs a script for each connection; ``connections`` and ``requests`` tell what came."""

    def __init__(
        self,
        script: Script,
        address: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.script = script
        self.connections: list[str] = []
        self.requests: list[bytes] = []
        self.stopping = threading.Event()
        self.finished = threading.Event()
        """Has a visit that takes its time come to its end?"""
        self._tls = tls
        self._listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._listener.bind((address, port))
        self._listener.listen(64)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, peer = self._listener.accept()
                self.connections.append(peer[0])
                number = len(self.connections)
                threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError, ValueError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            try:
                self.script(Visit(self, connection, number))
            finally:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()


def always(answer: bytes) -> Script:
    """Gives that answer to every request, on a connection that is kept alive."""

    def script(visit: Visit) -> None:
        while visit.request():
            visit.send(answer)

    return script


CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok"


class Authority:
    """A certificate authority for one test run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("Throwaway CA")
        certificate = self._build("Throwaway CA", self._key, self._key, days=2, authority=True)
        self.file = str(directory / "authority.pem")
        Path(self.file).write_bytes(certificate.public_bytes(Encoding.PEM))

    def server(self, host: str, *, days: int = 1, self_signed: bool = False) -> ssl.SSLContext:
        """What a server needs to be ``host``; negative ``days``: expired so long ago."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate(host, days=days, self_signed=self_signed))
        return context

    def certificate(self, host: str, *, days: int = 1, self_signed: bool = False) -> Path:
        """The same as a file, certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._build(host, key, key if self_signed else self._key, days=days)
        file = self._directory / f"{host}-{days}-{self_signed}.pem"
        file.write_bytes(
            certificate.public_bytes(Encoding.PEM)
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return file

    def _build(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        signer: ec.EllipticCurvePrivateKey,
        *,
        days: int,
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
        end = now + datetime.timedelta(days=days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(name) if signer is key else self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now, end) - datetime.timedelta(days=1))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )
        if authority:
            usage = x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            )
            builder = builder.add_extension(usage, critical=True)
        else:
            alternative = x509.SubjectAlternativeName([x509.DNSName(name)])
            builder = builder.add_extension(alternative, critical=False)
        return builder.sign(signer, hashes.SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
