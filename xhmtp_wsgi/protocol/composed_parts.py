"""The parts of a new message: its text, what is attached, and the multipart around them (RFC 2045).

Security: a file's name is its last component, without what hides in it; an unknown media type is
octets; the boundary is in none of the parts.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from xhmtp_wsgi.protocol.encoded_fields import one_line, parameters
from xhmtp_wsgi.protocol.header_block import MAX_LINE

MAX_NAME = 200  # characters of a file's name
OCTETS = "application/octet-stream"
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,99}/[a-z0-9][a-z0-9!#$&^_.+-]{0,99}")
_LINE_END = re.compile(r"\r\n|\r|\n")
_SURROGATE = re.compile("[\ud800-\udfff]")
_HIDDEN = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True, slots=True)
class NewAttachment:
    """Something attached; ``type``: a media type without parameters."""

    name: str
    type: str
    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a message: the last fields of its header, and its body."""

    header: bytes
    body: bytes


def file_name(name: str) -> str:
    """A name under which what is attached can be shown and saved: no path, nothing that hides."""
    last = re.split(r"[/\\]", name)[-1]
    shown = one_line(_HIDDEN.sub("", last)).strip(". ")
    if len(shown) > MAX_NAME:
        stem, dot, ending = shown.rpartition(".")
        ending = (dot + ending)[:20] if stem else ""
        shown = shown[: MAX_NAME - len(ending)] + ending
    return shown or "attachment"


def media_type(given: str) -> str:
    """A media type without its parameters; application/octet-stream for what is none."""
    found = given.partition(";")[0].strip().lower()
    return found if _TYPE.fullmatch(found) else OCTETS


def text_part(text: str) -> Part:
    """The text itself: as it is where its lines may stand so, else quoted-printable."""
    lines = "\n".join(_LINE_END.split(_SURROGATE.sub("\ufffd", text)))
    if lines and not lines.endswith("\n"):
        lines += "\n"
    octets = lines.encode("utf-8")
    encoding = "7bit" if octets.isascii() else "8bit"
    if b"\0" in octets or any(len(line) > MAX_LINE for line in octets.split(b"\n")):
        encoding = "quoted-printable"
        octets = binascii.b2a_qp(octets, istext=True)
    header = f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n"
    return Part(header.encode("ascii"), octets.replace(b"\n", b"\r\n"))


def attachment_part(attachment: NewAttachment) -> Part:
    kind, octets = media_type(attachment.type), attachment.octets
    encoding, body = "base64", base64.encodebytes(octets).replace(b"\n", b"\r\n")
    if kind.startswith(("message/", "multipart/")):
        # These may not be base64 (RFC 2045, section 6.4).
        if kind == "message/rfc822" and _may_stand(octets):
            encoding, body = "8bit", octets
        else:
            kind = OCTETS
    more = (
        parameters([("charset", "utf-8")]) if kind.startswith("text/") and _is_utf8(octets) else ""
    )
    name = parameters([("filename", file_name(attachment.name))])
    header = (
        f"Content-Type: {kind}{more}\r\nContent-Transfer-Encoding: {encoding}\r\n"
        f"Content-Disposition: attachment{name}\r\n"
    )
    return Part(header.encode("ascii"), body)


def multipart(parts: Sequence[Part], message_id: str) -> Part:
    number = 0
    while True:
        name = hashlib.sha256(f"{number} {message_id}".encode()).hexdigest()[:32]
        edge = f"--=_{name}".encode("ascii")
        if not any(edge in part.body for part in parts):
            break
        number += 1
    body = b"".join(edge + b"\r\n" + part.header + b"\r\n" + part.body + b"\r\n" for part in parts)
    header = f'Content-Type: multipart/mixed;\r\n boundary="=_{name}"\r\n'.encode("ascii")
    return Part(header, body + edge + b"--\r\n")


def _may_stand(octets: bytes) -> bool:
    """Is it of lines that end in CRLF, none too long, and with no NUL?"""
    lines = octets.split(b"\r\n")
    return b"\0" not in octets and all(
        len(line) <= MAX_LINE and b"\r" not in line and b"\n" not in line for line in lines
    )


def _is_utf8(octets: bytes) -> bool:
    try:
        return bool(octets.decode("utf-8")) and not octets.isascii()
    except UnicodeDecodeError:
        return False
