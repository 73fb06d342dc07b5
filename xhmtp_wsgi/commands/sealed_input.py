"""An age file as a person has it: by itself, or in a message as `xhmtp fetch` leaves it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from xhmtp_wsgi.errors import MalformedMessage, MalformedSeal, SealBroken, TooLarge
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.protocol.message import split_header
from xhmtp_wsgi.recipient.unsealing import differences

MOST_HEADER = 1 << 20  # octets of a message's header
_AS_IT_IS = ("", "7bit", "8bit", "binary")
NO_AGE_FILE = "this is no age file, and no message that holds one"


@dataclass(frozen=True, slots=True)
class SealedInput:
    """The age file, and the fields of the message around it: by name in lower case, if any is."""

    fields: dict[str, str] | None
    age_file: Iterator[bytes]


def sealed_input(pieces: Iterable[bytes]) -> SealedInput:
    """Finds the age file. Raises MalformedSeal where there is none."""
    from xhmtp_wsgi.protocol.sealed_message import is_sealed_type
    from xhmtp_wsgi.protocol.sealing import is_sealed

    source = iter(pieces)
    start = b""
    for piece in source:
        start += piece
        end = split_header(start)
        if is_sealed(start):
            return SealedInput(None, _rejoined(start, source))
        if end is not None or len(start) > MOST_HEADER:
            break
    else:
        end = None
    fields = {} if end is None else _fields(start[:end])
    if end is None or not is_sealed_type(fields.get("content-type", "")):
        raise MalformedSeal(NO_AGE_FILE)
    encoding = fields.get("content-transfer-encoding", "").lower()
    if encoding not in _AS_IT_IS:
        raise MalformedSeal(f"the age file in this message is encoded as {encoding[:40]}")
    return SealedInput(fields, _rejoined(start[end:], source))


def require_same_message(around: Mapping[str, str], inside: bytes) -> None:
    """Raises SealBroken where the message inside is not the one that was announced around it.

    ``around``: fields as ``SealedInput`` has them; ``inside``: the first octets of what was sealed.
    """
    end = split_header(inside)
    found = {} if end is None else _fields(inside[:end])
    if not found:
        raise SealBroken("what was sealed is no message, and the message around it says it is one")
    differing = differences(around, found)
    if differing:
        raise SealBroken(f"another message was put into this one: {'; '.join(differing)}")


def _fields(block: bytes) -> dict[str, str]:
    try:
        fields = scan(block.rstrip(b"\r\n"), MOST_HEADER, allow_bare_newlines=True)
    except (MalformedMessage, TooLarge):
        return {}
    return {field.name.lower(): field.value for field in fields}


def _rejoined(start: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield start
    yield from rest
