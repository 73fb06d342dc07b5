"""Notifications made in advance, as the notifier would send them; each of another message."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.http_client import post
from xhmtp_wsgi.protocol.access_code import new_code, new_identifier
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.message_url import MessageURL
from xhmtp_wsgi.protocol.notification import FORM, encode, header_block_for
from xhmtp_wsgi.protocol.request_signer import RequestSigner
from xhmtp_wsgi.protocol.signature import KeyName, key_record
from xhmtp_wsgi.routes import domain_path, inbox_path, message_path


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A key that signs a domain's notifications; ``zone_line``: publishes it."""

    name: KeyName
    seed: bytes
    zone_line: str


def new_key(domain: str) -> RequestKey:
    """A new one."""
    private = Ed25519PrivateKey.generate()
    name = KeyName("bench", domain)
    record = key_record(private.public_key().public_bytes_raw())
    return RequestKey(name, private.private_bytes_raw(), f'{name}. TXT "{record}"')


def body(recipient: Endpoint, host: str, port: int, sender: str = "alice@a.test") -> bytes:
    """The form that tells of a message of 4 KiB which waits at that host."""
    local = sender.partition("@")[0]
    header = (
        f"From: alice <{sender}>\r\nTo: {recipient}\r\nSubject: a measurement\r\n"
        f"Date: Mon, 06 Jul 2026 10:00:00 +0000\r\nMessage-ID: <{new_identifier()}@a.test>\r\n"
    ).encode()
    url = MessageURL(
        scheme="http", host=host, port=port, recipient=recipient, code=new_code(),
        path=message_path("xhmtp", local, new_identifier()),
    )  # fmt: skip
    told = header_block_for(
        tuple(scan(header, len(header))),
        size=4096,
        digest=hashlib.sha256(header).digest(),
        expires=datetime.fromtimestamp(time.time() + 30 * 86400, UTC),
        recipient=recipient,
    )
    return encode(url, told)


def batches(
    count: int,
    size: int,
    recipients: Sequence[Endpoint],
    *,
    sender_host: tuple[str, int],
    receiver_host: tuple[str, int],
    key: RequestKey | None = None,
) -> Iterator[bytes]:
    """So many POSTs of ``size`` notifications each, all of other messages, for one domain."""
    chosen = cycle(recipients)
    path = domain_path("xhmtp", recipients[0].domain)

    def batch() -> bytes:
        # A single one has its url first, and a batch the headers that hold for it.
        told = (body(next(chosen), *sender_host).partition(b"&") for _ in range(size))
        return b"&".join(b"&".join((headers, url)) for url, _, headers in told)

    return _posts(((path, batch()) for _ in range(count)), receiver_host, key)


def requests(
    count: int,
    recipients: Sequence[Endpoint],
    *,
    sender_host: tuple[str, int],
    receiver_host: tuple[str, int],
    key: RequestKey | None = None,
) -> Iterator[bytes]:
    """So many POSTs, to these recipients in turn; signed where there is a key."""
    told = islice(cycle(recipients), count)
    forms = ((inbox_path("xhmtp", one), body(one, *sender_host)) for one in told)
    return _posts(forms, receiver_host, key)


def _posts(
    forms: Iterable[tuple[str, bytes]], host: tuple[str, int], key: RequestKey | None
) -> Iterator[bytes]:
    signer = None if key is None else RequestSigner(key.seed, key.name, FORM)
    for path, octets in forms:
        headers = {"Content-Type": FORM}
        if signer is not None:
            headers |= signer.sign(octets, time.time())
        yield post(path, f"{host[0]}:{host[1]}", octets, headers.items())
