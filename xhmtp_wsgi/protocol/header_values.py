"""What header fields mean: addresses in them, and their text made fit for people and for XML."""

import re
import unicodedata
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from xhmtp_wsgi.errors import MalformedAddress, MalformedMessage
from xhmtp_wsgi.protocol.endpoint import Endpoint

MAX_SHOWN = 998  # characters
_XML_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_JOINERS = "\u200c\u200d"  # what some scripts cannot be written without
# One token of an address list at a time, so that no input takes more than linear time.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(")?|[(),:;<>"\\]|[^(),:;<>"\\]+', re.DOTALL)


def addresses(value: str) -> tuple[Endpoint, ...]:
    """The addresses in From, To, Cc or Bcc, groups opened (RFC 5322, section 3.4).

    Raises MalformedMessage, naming what is no address.
    """
    found = []
    for part in _parts(value):
        if part.strip():
            found.append(_address(part))
    return tuple(found)


def display(value: str) -> str:
    """A field's text for people, one line, with encoded words (RFC 2047) decoded.

    Controls become spaces; characters that turn the text around or hide in it are left out, so that
    a name cannot pass for another by them. At most MAX_SHOWN characters. Never raises.
    """
    if value.isascii() and value.isprintable() and "=?" not in value:
        # As nearly every field is: nothing to decode, and nothing to leave out.
        return " ".join(value[: 4 * MAX_SHOWN].split())[:MAX_SHOWN]
    try:
        text = str(make_header(decode_header(value[: 8 * MAX_SHOWN])))
    except (HeaderParseError, LookupError, ValueError, UnicodeError):
        text = value
    shown = []
    for character in text[: 4 * MAX_SHOWN]:
        category = unicodedata.category(character)
        if category in ("Cc", "Zl", "Zp"):
            shown.append(" ")
        elif category != "Cf" or character in _JOINERS:
            shown.append(character)
    return " ".join("".join(shown).split())[:MAX_SHOWN]


def clean_xml(text: str) -> str:
    """The text with every character that XML 1.0 cannot hold replaced (its production 2, Char)."""
    return _XML_FORBIDDEN.sub("\ufffd", text)


def _parts(value: str) -> list[str]:
    """The list's parts: what stands between commas, comments and groups' names taken away.

    In each part the angle brackets are kept, and quoted strings are emptied.
    """
    parts: list[str] = []
    current: list[str] = []
    comment = 0
    in_angle = False
    in_group = False
    for found in _TOKEN.finditer(value):
        piece = found[0]
        if piece == "(":
            comment += 1
        elif comment:
            comment -= piece == ")"
        elif piece == "<":
            in_angle = True
            current.append(piece)
        elif piece == ">":
            in_angle = False
            current.append(piece)
        elif piece == "," or (piece == ";" and in_group):
            in_group = in_group and piece != ";"
            parts.append("".join(current))
            current = []
        elif piece == ":" and not in_angle and not in_group:
            in_group = True
            current = []
        elif piece[0] == '"':
            if found[1] is None:
                raise MalformedMessage("a list of addresses has a quoted string that does not end")
            current.append('"')
        else:
            current.append(piece)
    if comment:
        raise MalformedMessage("a list of addresses has a comment that does not end")
    parts.append("".join(current))
    return parts


def _address(part: str) -> Endpoint:
    name, angle, rest = part.partition("<")
    if angle:
        inner, closing, after = rest.partition(">")
        if not closing or after.strip() or "<" in inner:
            raise MalformedMessage(f"not an address: {display(part)[:80]!r}")
    else:
        inner = name
    try:
        return Endpoint.parse(inner.strip())
    except MalformedAddress as error:
        raise MalformedMessage(f"not an address: {display(part)[:80]!r}: {error}") from None
