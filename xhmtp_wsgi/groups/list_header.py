"""The header of a message as a group passes it on (docs/addresses.md, section Groups).

From becomes the group's address, as the notification has to come from an agent of the domain in
From; who wrote it stands in Original-From (RFC 5703) and, to be answered, in Reply-To. Body,
Subject, To, Date and Message-ID stay as they came, so that an author's signature holds.

Security: the message comes from a stranger's host. Its header is scanned octet by octet; its From
has to be the one that the notification told of, by which it was decided who may write; and whatever
it says of lists itself is replaced.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from xhmtp_wsgi.errors import Forbidden, MalformedMessage
from xhmtp_wsgi.group_register import Group
from xhmtp_wsgi.protocol.encoded_fields import mailboxes_field, tokens_field
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import Field, scan
from xhmtp_wsgi.protocol.header_values import addresses
from xhmtp_wsgi.protocol.mailbox_list import Mailbox, header_mailboxes
from xhmtp_wsgi.protocol.message import split_header

MOST_HOPS = 10  # groups that a message may have been through
MOST_NAME = 100  # characters of an author's name
MAX_HEADER = 1 << 20  # octets
_REPLACED = frozenset(
    {
        "from", "sender", "reply-to", "original-from", "precedence", "return-path", "bcc",
        "list-id", "list-post", "list-unsubscribe", "list-unsubscribe-post", "list-subscribe",
        "list-help", "list-owner", "list-archive", "resent-from", "resent-sender", "resent-to",
        "resent-cc", "resent-bcc", "resent-date", "resent-message-id",
    }
)  # fmt: skip
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,248}>")
_PLAIN = re.compile(r"[A-Za-z0-9 _-]+")
_SAFE = "!$'*+-_.~"  # in a mailto URL, beside letters and digits (RFC 6068)


@dataclass(frozen=True, slots=True)
class Passed:
    """A message as it is passed on: a new header, and where in the old octets the body begins."""

    header: bytes
    body_at: int


def passed_on(octets: bytes, group: Group, author: Endpoint | None) -> Passed:
    """The header with which a group passes a message on.

    ``author``: whom the notification named in From; None for an anonymous message. Raises
    MalformedMessage, or Forbidden for another author, and for a message that goes in a circle.
    """
    end = split_header(octets[: MAX_HEADER + 4])
    if end is None or octets[end - 4 : end] != b"\r\n\r\n":
        raise MalformedMessage("the message has no header with CRLF line ends")
    fields = scan(octets[: end - 4], MAX_HEADER)
    by_name = {field.name.lower(): field for field in fields}
    written_by = by_name.get("from")
    if _author(written_by) != (None if author is None else author.canonical):
        raise Forbidden("the message names another author than its notification")
    _require_no_circle(fields, group)
    replaced = _REPLACED
    made = [
        _line("Delivered-To", str(group.endpoint)),
        mailboxes_field("From", [Mailbox(_name(written_by, group), group.endpoint)]),
    ]
    if written_by is not None:
        answered = by_name.get("reply-to", written_by)
        made += [_renamed(written_by, "Original-From"), _renamed(answered, "Reply-To")]
    named = by_name.get("message-id")
    if named is None or not _MESSAGE_ID.fullmatch(named.value):
        replaced |= {"message-id"}
        # Always the same for the same octets, so that it is not sent twice.
        digest = hashlib.sha256(octets).hexdigest()
        made.append(_line("Message-ID", f"<{digest}@{group.endpoint.domain}>"))
    kept = [field.raw for field in fields if field.name.lower() not in replaced]
    return Passed(b"".join((*made, *kept, *list_fields(group), b"\r\n")), end)


def list_fields(group: Group) -> Sequence[bytes]:
    """The fields by which a reader's program knows a group's messages (RFC 2369, RFC 2919)."""
    phrase = f'"{group.title}" ' if _PLAIN.fullmatch(group.title) else ""
    leave = group.request_address("leave")
    return (
        tokens_field("List-Id", [f"{phrase}<{group.list_id}>"]),
        tokens_field("List-Post", [f"<{_mailto(group.endpoint)}>"]),
        tokens_field("List-Unsubscribe", [f"<{_mailto(leave)}>"]),
        _line("Precedence", "list"),
    )


def _require_no_circle(fields: Sequence[Field], group: Group) -> None:
    through = [field.value.lower() for field in fields if field.name.lower() == "delivered-to"]
    own_list = any(
        field.name.lower() == "list-id" and f"<{group.list_id}>" in field.value.lower()
        for field in fields
    )
    if own_list or str(group.endpoint) in through:
        raise Forbidden(f"the message has been through {group.endpoint} already")
    if len(through) >= MOST_HOPS:
        raise Forbidden(f"the message has been through {len(through)} groups or mailboxes")


def _author(field: Field | None) -> Endpoint | None:
    if field is None:
        return None
    found = addresses(field.value)
    if len(found) != 1:
        raise MalformedMessage(f"From has {len(found)} addresses; one author is what can be kept")
    return found[0].canonical


def _name(field: Field | None, group: Group) -> str:
    """``Alice via Team``."""
    if field is None:
        return f"Somebody via {group.title}"
    author = header_mailboxes(field.value)[0]
    name = author.name or f"{author.endpoint.local} at {author.endpoint.domain}"
    return f"{name[:MOST_NAME]} via {group.title}"


def _renamed(field: Field, name: str) -> bytes:
    return name.encode("ascii") + field.raw[len(field.name) :]


def _line(name: str, value: str) -> bytes:
    return f"{name}: {value}\r\n".encode("ascii")


def _mailto(endpoint: Endpoint) -> str:
    return f"mailto:{quote(endpoint.local, safe=_SAFE)}@{endpoint.domain}"
