"""Header fields as they are written: folded, words encoded (RFC 2047), parameters too (RFC 2231).

Python's own writer has folded a separating comma into an encoded word more than once
(CVE-2025-1795); what is written here is ASCII, on lines of at most 78 octets wherever it can be
folded, and reads back as what was given.

Security: whatever text comes in, what goes out is one field: no CR, LF or other control is let in.
"""

import base64
import re
import unicodedata
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from xhmtp_wsgi.errors import MalformedMessage
from xhmtp_wsgi.protocol.mailbox_list import Mailbox

WIDTH = 78  # octets of a line (RFC 5322, section 2.1.1)
MAX_TEXT = 998  # characters of an unstructured field, such as Subject
_ENCODED_WORD = 66  # octets: behind "Subject: " there is no room for the 75 of RFC 2047
_OCTETS_IN_WORD = 39  # which are 52 in base64
_LONGEST_PLAIN = 66  # octets of a word, or of a name, that is written as it is
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_PARAMETER_PIECE = 50  # octets of a parameter's value on one line


def one_line(text: str) -> str:
    """The text on one line: controls and line ends are spaces, runs of spaces one."""
    shown = (" " if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") else one for one in text)
    return " ".join("".join(shown).split())


def text_field(name: str, text: str) -> bytes:
    """A field of unstructured text. Raises MalformedMessage above MAX_TEXT characters."""
    value = one_line(text)
    if len(value) > MAX_TEXT:
        raise MalformedMessage(f"{name} has more than {MAX_TEXT} characters")
    if _is_plain(value):
        return _folded(name, value.split(" "))
    return _folded(name, _encoded_words(value))


def mailboxes_field(name: str, mailboxes: Sequence[Mailbox]) -> bytes:
    """A field of addresses, such as To."""
    pieces: list[str] = []
    for number, mailbox in enumerate(mailboxes, 1):
        words = [*_phrase(mailbox.name), f"<{mailbox.endpoint}>"]
        if len(words) == 1:
            words = [str(mailbox.endpoint)]
        if number < len(mailboxes):
            words[-1] += ","
        pieces += words
    return _folded(name, pieces)


def tokens_field(name: str, tokens: Sequence[str]) -> bytes:
    """A field of ASCII tokens between which it may be folded, such as References."""
    return _folded(name, tokens)


def parameters(values: Sequence[tuple[str, str]]) -> str:
    """Parameters as they stand behind a media type, each on a line of its own."""
    return "".join(";\r\n " + piece for name, value in values for piece in _parameter(name, value))


def _folded(name: str, words: Sequence[str]) -> bytes:
    lines = [f"{name}:"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > WIDTH and lines[-1] != f"{name}:":
            lines.append("")
        lines[-1] += f" {word}"
    return ("\r\n".join(lines) + "\r\n").encode("ascii")


def _is_plain(value: str) -> bool:
    """Can it be written as it is, and will nobody take it for something encoded?"""
    return (
        value.isascii()
        and "=?" not in value
        and all(len(word) <= _LONGEST_PLAIN for word in value.split(" "))
    )


def _phrase(name: str) -> list[str]:
    """A name as words that stand before an address."""
    value = one_line(name)
    if not value:
        return []
    if not value.isascii() or "=?" in value or len(value) > _LONGEST_PLAIN:
        return list(_encoded_words(value))
    if _ATOMS.fullmatch(value):
        return [value]
    return ['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"']


def _encoded_words(text: str) -> list[str]:
    """The text as encoded words; the space between two of them is no part of it."""
    whole = _quoted_word(text)
    if len(whole) <= _ENCODED_WORD:
        return [whole]
    return [f"=?utf-8?b?{base64.b64encode(piece).decode('ascii')}?=" for piece in _in_pieces(text)]


def _quoted_word(text: str) -> str:
    """As one encoded word that people can half read; only what may stand before an address."""
    written = "".join(map(_quoted_octet, text.encode("utf-8")))
    return f"=?utf-8?q?{written}?="


def _quoted_octet(octet: int) -> str:
    if octet == 0x20:
        return "_"
    character = chr(octet)
    return character if character.isascii() and character.isalnum() else f"={octet:02X}"


def _in_pieces(text: str) -> Iterator[bytes]:
    """Its octets in pieces, none of which ends within a character (RFC 2047, section 5)."""
    piece = b""
    for character in text:
        octets = character.encode("utf-8")
        if len(piece) + len(octets) > _OCTETS_IN_WORD:
            yield piece
            piece = b""
        piece += octets
    yield piece


def _parameter(name: str, value: str) -> Iterator[str]:
    if value.isascii() and "=?" not in value and len(value) <= _LONGEST_PLAIN - len(name):
        yield f'{name}="' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return
    encoded = "utf-8''" + quote(value, safe="")
    if len(encoded) <= _PARAMETER_PIECE:
        yield f"{name}*={encoded}"
        return
    pieces = re.findall(rf"(?:%..|[^%]){{1,{_PARAMETER_PIECE // 3}}}", encoded)
    for number, piece in enumerate(pieces):
        yield f"{name}*{number}*={piece}"
