"""A message as a file of a Maildir: with the line ends of Unix, and above it what we found of it.

Security: what a reader takes for ours is ours. Fields of the same names are taken out of what came,
and those by which mail programs keep their own notes; and the header ends where every reader takes
it to end: at its first empty line, or before the first line that is no field.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from email.utils import formatdate
from typing import Any

from xhmtp_wsgi.protocol.encoded_fields import MAX_TEXT, text_field, tokens_field
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient.inbox import Notice
from xhmtp_wsgi.recipient.verdict import Check
from xhmtp_wsgi.transfer.notice_message import as_message

CHECK, IDENTIFIER, RECEIVED, MISSING = (
    "XHMTP-Check", "XHMTP-ID", "XHMTP-Received", "XHMTP-Body-Missing",
)  # fmt: skip
_OURS = ("xhmtp-", "x-xhmtp-")
# By these, mail programs keep what they themselves know of a message.
_PROGRAMS = ("x-mozilla-", "x-evolution", "x-kmail-", "x-imap", "x-uid", "x-sylpheed-", "x-claws-")
_TAKEN_OUT = frozenset(
    {
        "delivered-to", "x-delivered-to", "x-original-to", "envelope-to", "return-path",
        "authentication-results", "arc-authentication-results", "received-spf", "x-spam-status",
        "x-spam-flag", "x-spam-level", "status", "x-status", "x-keywords", "x-label",
        "x-account-key", "content-length", "lines", "x-gmail-labels",
    }
)  # fmt: skip
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
MOST_HEADER = 4 << 20  # octets in which the end of a header is looked for


def whole_message(octets: bytes, owner: Endpoint, notice: Notice, checks: Sequence[Check]) -> bytes:
    """The message that was fetched. ``checks``: of its notification and of itself."""
    return b"".join(_ours(owner, notice, checks)) + _unix(b"".join(_kept(octets)))


def header_message(owner: Endpoint, notice: Notice, reason: str) -> bytes:
    """What the notification told, and where the body is (message/external-body, RFC 2017).

    ``reason``: why it is not here; empty where it was not asked for.
    """
    told: Mapping[str, Any] = {
        "id": notice.identifier,
        "received_at": notice.received_at,
        "url": notice.url,
        "size": notice.size,
        "checks": [(check.name, check.result, check.reason) for check in notice.checks],
    }
    message = as_message(notice.headers, told, owner.domain)
    ours = b"".join(_ours(owner, notice, notice.checks))
    missing = text_field(MISSING, (reason or "it was not asked for")[:MAX_TEXT])
    return ours + _unix(missing) + message


def _ours(owner: Endpoint, notice: Notice, checks: Sequence[Check]) -> Iterator[bytes]:
    yield _unix(tokens_field("Delivered-To", [str(owner.canonical)]))
    yield _unix(tokens_field(IDENTIFIER, [notice.identifier]))
    yield _unix(tokens_field(RECEIVED, [formatdate(notice.received_at)]))
    for check in checks:
        said = f"{check.name}={check.result} ({check.reason})"
        yield _unix(text_field(CHECK, said[:MAX_TEXT]))


def _kept(octets: bytes) -> Iterator[bytes]:
    """The message, without the fields that are taken out."""
    place, keeping, limit = 0, False, min(len(octets), MOST_HEADER)
    while place < limit:
        end = octets.find(b"\n", place) + 1 or len(octets)
        line = octets[place:end]
        text = line.rstrip(b"\r\n")
        if not text:
            yield b"\n"
            place = end
            break
        name = _FIELD.match(text)
        if text[:1] in (b" ", b"\t"):
            if keeping:
                yield _CONTROL.sub(b" ", text) + b"\n"
        elif name is None:
            yield b"\n"
            break
        else:
            keeping = not _is_taken_out(name[1].decode("ascii").lower())
            if keeping:
                yield _CONTROL.sub(b" ", text) + b"\n"
        place = end
    else:
        yield b"\n"
    yield octets[place:]


def _is_taken_out(name: str) -> bool:
    return name in _TAKEN_OUT or name.startswith((*_OURS, *_PROGRAMS))


def _unix(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n")
