"""The words of a message, as a reply quotes them and as it is found by them."""

from xhmtp_wsgi.protocol.mime_parts import Entity, entity_of, harmless, text_kind, text_of
from xhmtp_wsgi.sender.html_text import text_in
from xhmtp_wsgi.web.shown_parts import Part, parts_of

MOST_OCTETS = 2 << 20  # octets of a part that are looked at
MOST_TEXT = 512 << 10  # characters


def text_of_message(octets: bytes, most: int = MOST_TEXT) -> str:
    """Its text, plain where it has that, made harmless; never raises for what was sent."""
    found: list[str] = []
    left = most
    for part in parts_of(entity_of(octets), prefer_html=False).parts:
        if part.is_text and left > 0:
            text, _ = text_of_part(part)
            words = harmless((text_in(text) if is_html(part) else text)[:left])
            left -= len(words)
            found.append(words)
    return "\n\n".join(found)


def is_html(part: Part) -> bool:
    """Is its text HTML?"""
    return text_kind(part.entity) == "text/html"


def text_of_part(part: Part) -> tuple[str, str]:
    """Its text as it was written, and what is to be said of it first; its beginning, if long."""
    entity = part.entity
    if len(entity.body) > MOST_OCTETS:
        # At a line's end, so that no code of a character is cut.
        end = entity.body.rfind(b"\n", 0, MOST_OCTETS) + 1 or MOST_OCTETS
        entity = Entity(entity.fields, entity.body[:end])
    return text_of(entity)
