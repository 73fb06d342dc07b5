"""A message as text on a terminal: who, what, when; its words; what is attached, by number.

Plain text where there is that, else the text in the HTML, as pages list and number the parts.

Security: strangers wrote it. What turns text around, hides, or steers a terminal is left out, and
nothing of it is saved, run or loaded.
"""

from collections.abc import Iterator

from xhmtp_wsgi.errors import NotFound
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.mime_parts import DEEPEST, entity_of, harmless
from xhmtp_wsgi.sender.html_text import text_in
from xhmtp_wsgi.web.shown_parts import MOST_PARTS, Part, name_of, octets_of, parts_of, type_of
from xhmtp_wsgi.web.shown_text import is_html, text_of_message, text_of_part

SHOWN_FIELDS = ("From", "To", "Cc", "Date", "Subject")


def shown(octets: bytes) -> Iterator[str]:
    """The message, line by line or in several lines at once."""
    entity = entity_of(octets)
    for name in SHOWN_FIELDS:
        value = entity.fields.get(name)
        if value is not None:
            yield f"{name}: {display(str(value))}"
    found = parts_of(entity, prefer_html=False)
    for part in found.parts:
        yield ""
        yield from _words(part) if part.is_text else (f"[{part.number}: {_attached(part)}]",)
    if found.too_deep:
        yield f"[parts nested more than {DEEPEST} deep are not shown]"
    if found.more:
        yield f"[there are more than {MOST_PARTS} parts; the others are not shown]"


def plain_text(octets: bytes) -> str:
    """The words of a message, without what is attached."""
    return text_of_message(octets)


def part_octets(octets: bytes, number: int) -> list[bytes]:
    """The octets of the part with that number, decoded, in pieces. Raises NotFound."""
    for part in _parts(octets):
        if part.number == number:
            return octets_of(part)
    raise NotFound(f"the message has no part {number}")


def described_parts(octets: bytes) -> list[dict[str, object]]:
    """The parts as JSON has them."""
    return [
        {
            "number": part.number,
            "type": type_of(part),
            "name": None if part.is_text else name_of(part),
            "size": _size(part),
        }
        for part in _parts(octets)
    ]


def _parts(octets: bytes) -> tuple[Part, ...]:
    return parts_of(entity_of(octets), prefer_html=False).parts


def _attached(part: Part) -> str:
    return f"{name_of(part)}, {type_of(part)}, {_size(part):,} octets"


def _size(part: Part) -> int:
    return sum(map(len, octets_of(part)))


def _words(part: Part) -> Iterator[str]:
    text, note = text_of_part(part)
    if note:
        yield f"[{note}]"
    yield harmless(text_in(text) if is_html(part) else text)
