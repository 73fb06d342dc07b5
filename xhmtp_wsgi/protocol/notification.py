"""A notification: one agent tells another that a message waits (docs/protocol.md, section 5).

``Notification.parse`` is the receiver's side, ``header_block_for`` and ``encode`` the sender's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qsl, urlencode

from xhmtp_wsgi.errors import MalformedMessage, MalformedNotification
from xhmtp_wsgi.protocol.digest import parse_repr_digest, repr_digest
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import Field, scan
from xhmtp_wsgi.protocol.header_values import addresses
from xhmtp_wsgi.protocol.message_url import MessageURL

FORM = "application/x-www-form-urlencoded"
PERMISSIBLE = frozenset(
    {
        "from",
        "sender",
        "reply-to",
        "to",
        "cc",
        "date",
        "subject",
        "message-id",
        "in-reply-to",
        "references",
        "keywords",
        "list-id",
        "list-post",
        "list-unsubscribe",
        "auto-submitted",
        "mime-version",
        "content-type",
        "content-language",
        "content-length",
        "repr-digest",
        "expires",
    }
)
STORED = frozenset({"content-length", "repr-digest", "expires"})  # told of the stored message
MAX_HEADERS = 16 << 10  # octets
MAX_FORM_FIELDS = 50
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# What is left out first where the header block would be too large.
_LEFT_OUT = (
    ("keywords",),
    ("list-id", "list-post", "list-unsubscribe"),
    ("in-reply-to", "references"),
    ("cc",),
    ("to",),
    ("reply-to", "sender"),
    ("content-type", "content-language", "mime-version", "auto-submitted"),
    ("subject",),
)


@dataclass(frozen=True, slots=True)
class Notification:
    """What was sent: the message's URL, and its permissible header fields.

    ``values``: theirs, by name in lower case; ``author``: the address in From, None for an
    anonymous message.
    """

    url: MessageURL
    fields: tuple[Field, ...]
    values: Mapping[str, str]
    author: Endpoint | None
    content_length: int | None
    digest: bytes | None

    @classmethod
    def parse(
        cls, body: bytes, *, recipient: Endpoint, header_limit: int = MAX_HEADERS
    ) -> "Notification":
        """The notification in a form's octets, for the recipient that the path names.

        Raises MalformedNotification, MalformedMessageURL, or TooLarge for the header block.
        """
        form = _form(body)
        url = MessageURL.parse(form["url"])
        if url.recipient.canonical != recipient.canonical:
            raise MalformedNotification("the message URL names another recipient than the path")
        return cls.of(url, form["headers"], header_limit)

    @classmethod
    def of(cls, url: MessageURL, headers: str, header_limit: int = MAX_HEADERS) -> "Notification":
        """The notification that tells of that URL with this header block.

        Raises MalformedNotification, or TooLarge for the header block.
        """
        try:
            given = scan(headers.encode("utf-8"), header_limit)
        except MalformedMessage as error:
            raise MalformedNotification(f"in headers: {error}") from None
        fields = tuple(field for field in given if field.name.lower() in PERMISSIBLE)
        values = {field.name.lower(): field.value for field in fields}
        author = _author(values["from"]) if "from" in values else None
        return cls(url, fields, values, author, _length(values), _digest(values))

    def header_block(self) -> bytes:
        """The permissible fields, as they were sent."""
        return b"".join(field.raw for field in self.fields)


def encode(url: MessageURL, header_block: bytes) -> bytes:
    """The form that tells of a message."""
    return urlencode({"url": url.with_credentials(), "headers": header_block}).encode("ascii")


def header_block_for(
    stored: Sequence[Field], *, size: int, digest: bytes, expires: datetime, recipient: Endpoint
) -> bytes:
    """The header block that tells of a stored message, at most MAX_HEADERS octets.

    What does not fit is left out, the least needed first; a To that is too long is replaced by the
    recipient alone.
    """
    told = [
        field
        for field in stored
        if field.name.lower() in PERMISSIBLE and field.name.lower() not in STORED
    ]
    ours = (
        f"Content-Length: {size}\r\nRepr-Digest: {repr_digest(digest)}\r\n"
        f"Expires: {format_datetime(expires.astimezone(UTC), usegmt=True)}\r\n"
    ).encode("ascii")
    for names in _LEFT_OUT:
        if sum(len(field.raw) for field in told) + len(ours) <= MAX_HEADERS:
            break
        told = [
            _shortened(field, recipient)
            for field in told
            if field.name.lower() in names and field.name.lower() == "to"
        ] + [field for field in told if field.name.lower() not in names]
    return b"".join(field.raw for field in told) + ours


def _shortened(field: Field, recipient: Endpoint) -> Field:
    return Field(field.name, str(recipient), f"{field.name}: {recipient}\r\n".encode("ascii"))


def form_fields(body: bytes, most: int) -> list[tuple[str, str]]:
    """The fields of a form in their order, at most so many. Raises MalformedNotification."""
    if not body.isascii() or _BAD_ESCAPE.search(body):
        raise MalformedNotification("the body is not application/x-www-form-urlencoded")
    try:
        return parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=most,
        )
    except ValueError:
        raise MalformedNotification(
            f"the body is not a form in UTF-8 of at most {most} fields"
        ) from None


def _form(body: bytes) -> dict[str, str]:
    pairs = form_fields(body, MAX_FORM_FIELDS)
    form: dict[str, str] = {}
    for name in ("url", "headers"):
        values = [value for key, value in pairs if key == name]
        if len(values) != 1:
            raise MalformedNotification(
                f"the form has {len(values)} fields {name!r}, and wants one"
            )
        form[name] = values[0]
    return form


def _author(value: str) -> Endpoint:
    try:
        found = addresses(value)
    except MalformedMessage as error:
        raise MalformedNotification(f"in From: {error}") from None
    if len(found) != 1:
        raise MalformedNotification(f"From has {len(found)} addresses, and wants one")
    return found[0]


def _length(values: Mapping[str, str]) -> int | None:
    value = values.get("content-length")
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise MalformedNotification("Content-Length is not a number")
    return int(value)


def _digest(values: Mapping[str, str]) -> bytes | None:
    value = values.get("repr-digest")
    if value is None:
        return None
    digest = parse_repr_digest(value)
    if digest is None and "sha-256" in value:
        raise MalformedNotification("Repr-Digest has a sha-256 that is none")
    return digest
