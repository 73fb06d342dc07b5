"""Requests by hand to a site of some framework: what alice's and bob's programs would send."""

from typing import Any
from urllib.parse import quote, urlencode

from webob import Response

from tests.world import basic, call

PREFIX = "xhmtp"
SENDERS_ADDRESS = "127.0.0.1"
ZONE = f"server.sender.example. 60 A {SENDERS_ADDRESS}\n"
CODE = "abcdefghijklmnopqrstuvwxyz234567"


def message(sender: str) -> bytes:
    """A message of hers."""
    return f"From: {sender}\r\nTo: bob@b.example\r\nSubject: hello\r\n\r\nDear Bob\r\n".encode()


def notification(recipient: str, subject: str = "hello") -> bytes:
    """A form that tells of a message at server.sender.example, which ZONE makes SENDERS_ADDRESS."""
    user = quote(recipient, safe="")
    url = f"http://{user}:{CODE}@server.sender.example/xhmtp/alice/abcdefghijklmnopqrstuvwxyz"
    headers = f"From: alice@sender.example\r\nSubject: {subject}\r\n"
    return urlencode({"url": url, "headers": headers}).encode()


def notify(site: Any, recipient: str) -> Response:
    """Tells that site of a message for that recipient."""
    return call(
        site, f"/{PREFIX}/{recipient}", method="POST", body=notification(recipient),
        content_type="application/x-www-form-urlencoded", address=SENDERS_ADDRESS,
    )  # fmt: skip


def inject(site: Any, sender: str, login: str | None = None, **options: Any) -> Response:
    """Hands in a message of that sender's. ``login``: ``user:password`` for Basic."""
    local = sender.partition("@")[0]
    return call(
        site, f"/{PREFIX}/{local}/", method="POST", body=message(sender),
        content_type="message/rfc822", authorization=_basic(login), **options,
    )  # fmt: skip


def feed(site: Any, reader: str, login: str | None = None, **options: Any) -> Response:
    """That reader's feed."""
    return call(site, f"/{PREFIX}/{reader}", authorization=_basic(login), **options)


def _basic(login: str | None) -> str | None:
    return None if login is None else basic(*login.split(":", 1))
