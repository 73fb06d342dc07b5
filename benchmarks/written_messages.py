"""Messages for the benchmarks: a header, and so many octets of text, as smtp-source has."""

from collections.abc import Sequence

from benchmarks.http_client import post
from benchmarks.two_sites import SENDER, TwoSites
from xhmtp_wsgi.protocol.access_code import new_identifier

LINE = b"X" * 78 + b"\r\n"


def message(recipients: Sequence[str], size: int) -> bytes:
    """One; ``size``: octets of its text. No two are the same message."""
    to = ",\r\n ".join(recipients)
    head = (
        f"From: alice <{SENDER}>\r\nTo: {to}\r\nSubject: a measurement\r\n"
        f"Date: Mon, 06 Jul 2026 10:00:00 +0000\r\nMessage-ID: <{new_identifier()}@a.test>\r\n\r\n"
    )
    return head.encode() + (LINE * (size // len(LINE) + 1))[: size - 2] + b"\r\n"


def injections(sites: TwoSites, count: int, recipients: Sequence[str], size: int) -> list[bytes]:
    """So many requests that hand in a message, each to all of these."""
    headers = [("Content-Type", "message/rfc822"), sites.authorization()]
    host = f"{sites.a.host}:{sites.a.port}"
    path = "/xhmtp/alice/"
    return [post(path, host, message(recipients, size), headers) for _ in range(count)]
