"""Where an author's signature stands in a message: multipart/signed (RFC 1847).

The first part is the message's own content, with copies of the header fields that matter (protected
headers, RFC 9788), so that subject and recipients are signed too; the second is the signature. What
is signed are the octets of the first part, line ends CRLF.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xhmtp_wsgi.errors import MalformedMessage, MalformedSignature
from xhmtp_wsgi.protocol.header_block import Field, scan
from xhmtp_wsgi.protocol.message import split_header

PROTOCOL = "application/x-xhmtp-ssh-signature"
PROTECTED = ("from", "to", "cc", "subject", "date", "message-id", "in-reply-to", "references")
MAX_MESSAGE = 64 << 20  # octets that are signed, or looked at, in memory
MAX_HEADER = 1 << 20
MAX_SIGNATURE = 24 << 10
_BOUNDARY = re.compile(r"""boundary\s*=\s*(?:"([^"\\]{1,70})"|([0-9A-Za-z'()+_,./:=?-]{1,70}))""")


@dataclass(frozen=True, slots=True)
class SignedParts:
    """What an author has signed, and with what. ``protected``: the inner copies, by lower name."""

    signed: bytes
    armoured: str
    protected: Mapping[str, str]


def sign_message(message: bytes, signer: Callable[[list[bytes]], str], boundary: str) -> bytes:
    """The message with its content in multipart/signed.

    ``boundary``: random, of letters and digits. Raises MalformedMessage.
    """
    fields, body = _split(message)
    if len(message) > MAX_MESSAGE or boundary.encode() in message:
        raise MalformedMessage("the message is too large to be signed, or has the boundary in it")
    outer = [field for field in fields if not _is_content(field)]
    content = [field for field in fields if _is_content(field)]
    if not any(field.name.lower() == "content-type" for field in content):
        content.append(_made("Content-Type", "text/plain; charset=us-ascii"))
    copies = [field for field in outer if field.name.lower() in PROTECTED]
    inner = b"".join(
        _marked(field).raw for field in content if field.name.lower() != "mime-version"
    )
    signed = inner + b"".join(field.raw for field in copies) + b"\r\n" + body
    armoured = signer([signed]).replace("\r\n", "\n").replace("\n", "\r\n").encode("ascii")
    edge = f"--{boundary}".encode()
    multipart = (
        f'multipart/signed; micalg="sha-512";\r\n protocol="{PROTOCOL}";\r\n boundary="{boundary}"'
    )
    header = b"".join(field.raw for field in outer) + (
        f"MIME-Version: 1.0\r\nContent-Type: {multipart}\r\n\r\n"
    ).encode("ascii")
    second = f'Content-Type: {PROTOCOL}; name="signature.asc"\r\n\r\n'.encode()
    return (
        header + edge + b"\r\n" + signed + b"\r\n" + edge + b"\r\n" + second + armoured
        + b"\r\n" + edge + b"--\r\n"
    )  # fmt: skip


def find_signature(message: bytes) -> SignedParts | None:
    """What an author has signed of a stored message; None where none of ours is in it.

    Raises MalformedSignature where it claims to be signed and is broken.
    """
    try:
        fields, body = _split(message)
    except MalformedMessage:
        return None
    kind = next((field.value for field in fields if field.name.lower() == "content-type"), "")
    if not kind.lower().startswith("multipart/signed") or PROTOCOL not in kind.lower():
        return None
    if len(message) > MAX_MESSAGE:
        raise MalformedSignature("the signed message is too large to be looked at")
    found = _BOUNDARY.search(kind)
    if found is None:
        raise MalformedSignature("the signed message names no boundary")
    edge = b"--" + (found[1] or found[2]).encode("utf-8")
    signed, second = _parts(body, edge)
    end = second.find(b"\r\n\r\n")
    if end < 0 or PROTOCOL.encode() not in second[:end].lower():
        raise MalformedSignature("the second part is not a signature")
    armoured = second[end + 4 :]
    if len(armoured) > MAX_SIGNATURE or not armoured.isascii():
        raise MalformedSignature("the signature is not one")
    text = armoured.decode("ascii").replace("\r\n", "\n").strip("\n") + "\n"
    return SignedParts(signed, text, _protected(signed))


def differing_fields(parts: SignedParts, message: bytes) -> tuple[str, ...]:
    """Which protected fields have another value outside: somebody changed them on the way.

    Date and Message-ID may have been added by the author's agent (protocol, section 4); a group
    that passes a message on moves its From to Original-From (docs/addresses.md).
    """
    fields, _ = _split(message)
    outer = {field.name.lower(): " ".join(field.value.split()) for field in fields}
    written_by = author_field(outer)
    if written_by is not None:
        outer["from"] = written_by
    return tuple(
        name
        for name in PROTECTED
        if outer.get(name) != parts.protected.get(name)
        and (name in parts.protected or name not in ("date", "message-id"))
    )


def author_field(fields: Mapping[str, str]) -> str | None:
    """The field that names a message's author; None where it is anonymous.

    ``fields``: by name in lower case. That is From, or Original-From in what a group has passed on:
    such a message names its List-Id.
    """
    if "list-id" in fields and "original-from" in fields:
        return fields["original-from"]
    return fields.get("from")


def _parts(body: bytes, edge: bytes) -> tuple[bytes, bytes]:
    """The two parts between three edges, each of which is a line of its own."""
    pieces = (b"\r\n" + body).split(b"\r\n" + edge)
    if len(pieces) != 4 or not pieces[3].startswith(b"--"):
        raise MalformedSignature("a signed message has two parts")
    if not (pieces[1].startswith(b"\r\n") and pieces[2].startswith(b"\r\n")):
        raise MalformedSignature("a boundary of the signed message is not a line")
    return pieces[1][2:], pieces[2][2:]


def _protected(signed: bytes) -> dict[str, str]:
    try:
        fields, _ = _split(signed)
    except MalformedMessage:
        raise MalformedSignature("the signed part has no header") from None
    return {
        field.name.lower(): " ".join(field.value.split())
        for field in fields
        if field.name.lower() in PROTECTED
    }


def _split(message: bytes) -> tuple[tuple[Field, ...], bytes]:
    """The header fields and the body. Raises MalformedMessage."""
    end = split_header(message[: MAX_HEADER + 4])
    if end is None or message[end - 4 : end] != b"\r\n\r\n":
        raise MalformedMessage("the message has no header with CRLF line ends")
    return scan(message[: end - 4], MAX_HEADER), message[end:]


def _is_content(field: Field) -> bool:
    return field.name.lower().startswith("content-") or field.name.lower() == "mime-version"


def _marked(field: Field) -> Field:
    """Content-Type that says that its part has protected header fields (RFC 9788, 2.1.1)."""
    if field.name.lower() != "content-type":
        return field
    return Field(field.name, field.value, field.raw.rstrip(b"\r\n; ") + b';\r\n hp="clear"\r\n')


def _made(name: str, value: str) -> Field:
    return Field(name, value, f"{name}: {value}\r\n".encode("ascii"))
