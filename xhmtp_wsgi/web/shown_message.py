"""A message as a page shows it: who, what, its text as harmless HTML, and what is attached.

Security: strangers wrote all of it. What comes out as Markup went through ``harmless_html`` or
``plain_text``; all else is text, which the templates escape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from markupsafe import Markup

from xhmtp_wsgi.errors import MalformedAddress
from xhmtp_wsgi.protocol.header_values import display
from xhmtp_wsgi.protocol.mailbox_list import header_mailboxes
from xhmtp_wsgi.protocol.mime_parts import DEEPEST, Entity, decoded, entity_of, harmless
from xhmtp_wsgi.sender.html_text import text_in
from xhmtp_wsgi.web.harmless_html import MOST_PICTURE, HarmlessHTML, harmless_html
from xhmtp_wsgi.web.plain_text import text_as_html
from xhmtp_wsgi.web.shown_parts import (
    MOST_PARTS,
    Part,
    name_of,
    parts_of,
    size_of,
    type_of,
)
from xhmtp_wsgi.web.shown_text import MOST_OCTETS, MOST_TEXT, is_html, text_of_part

MOST_PEOPLE = 100  # of a field that are shown
MOST_PICTURES = 4 << 20  # octets of pictures that stand in a page's text
SHOWN_FIELDS = ("From", "Reply-To", "To", "Cc")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in a field, as it names him."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class ShownField:
    """A field of the header; ``text``: where it is no list of people."""

    label: str
    people: tuple[Person, ...] = ()
    text: str = ""
    more: int = 0


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands above a message. ``sent_at``: seconds since the epoch, if it has a date."""

    subject: str
    fields: tuple[ShownField, ...]
    sent_at: float | None


@dataclass(frozen=True, slots=True)
class Attached:
    """Something that is handed out by its number."""

    number: int
    name: str
    type: str
    size: int


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """The text, what is attached, and what is to be said of both.

    ``pictures``: how many it wanted to load from elsewhere; ``has_html``: it is shown as HTML.
    """

    sections: tuple[Markup, ...]
    attached: tuple[Attached, ...]
    notes: tuple[str, ...]
    pictures: int
    has_html: bool


@dataclass
class _Pictures:
    """The pictures that a message holds itself, by Content-ID, and those that were shown."""

    parts: Mapping[str, Part]
    left: int = MOST_PICTURES
    shown: set[int] = field(default_factory=set)

    def octets(self, identifier: str) -> bytes | None:
        """One of them; None where there is none, or no room for it."""
        part = self.parts.get(identifier)
        if part is None or size_of(part) > min(self.left, MOST_PICTURE):
            return None
        octets = decoded(part.entity)
        self.left -= len(octets)
        self.shown.add(part.number)
        return octets


def heading_of(fields: Mapping[str, str]) -> Heading:
    """What stands above a message. ``fields``: by name in lower case, not decoded."""
    shown = []
    for label in SHOWN_FIELDS:
        value = " ".join(fields.get(label.lower(), "").split())
        if value and not (label == "Reply-To" and value == fields.get("from")):
            shown.append(_people(label, value))
    if not fields.get("from"):
        shown.insert(0, ShownField("From", text="nobody who is named (anonymous)"))
    return Heading(display(fields.get("subject", "")), tuple(shown), _date(fields.get("date", "")))


def shown_message(octets: bytes, *, prefer_html: bool = True) -> ShownMessage:
    """The message. Never raises for what was sent, and takes time in proportion to its length."""
    try:
        return _shown(entity_of(octets), prefer_html)
    except Exception:
        # Whatever surprises Python's parser of fields still has for strangers' octets.
        source = harmless(octets[:MOST_TEXT].decode("latin-1"))
        note = "The message could not be taken apart; this is its source."
        return ShownMessage((text_as_html(source),), (), (note,), 0, has_html=False)


def _shown(message: Entity, prefer_html: bool) -> ShownMessage:
    found = parts_of(message, prefer_html=prefer_html)
    pictures = _Pictures({part.identifier: part for part in found.parts if part.identifier})
    sections, notes, wanted = [], [], 0
    left, is_cut = MOST_TEXT, False
    for part in found.parts:
        if not part.is_text or is_cut:
            continue
        text, note = text_of_part(part)
        notes += [note] if note else []
        html = _html(text, left, pictures) if is_html(part) else None
        if html is not None:
            sections.append(Markup('<div class="mail" dir="auto">{}</div>').format(html.html))
            wanted += html.pictures
            length, is_cut = html.length, html.is_cut
        else:
            text = text_in(text) if is_html(part) else text
            sections.append(text_as_html(harmless(text[:left])))
            length, is_cut = len(text), len(text) > left
        left -= min(length, left)
        is_cut = is_cut or len(part.entity.body) > MOST_OCTETS
    attached = [
        Attached(part.number, name_of(part), type_of(part), size_of(part))
        for part in found.parts
        if not part.is_text and part.number not in pictures.shown
    ]
    if is_cut:
        notes.append("There is more text than is shown here; the source has all of it.")
    if found.too_deep:
        notes.append(f"Parts nested more than {DEEPEST} deep are not shown.")
    if found.more:
        notes.append(f"There are more than {MOST_PARTS} parts; the others are not shown.")
    has_html = any(part.is_text and is_html(part) for part in found.parts)
    return ShownMessage(tuple(sections), tuple(attached), tuple(notes), wanted, has_html)


def _html(text: str, most: int, pictures: _Pictures) -> HarmlessHTML | None:
    """HTML made harmless; None where that cannot be done here, and its text is to be shown."""
    try:
        return harmless_html(text, most, pictures.octets)
    except ImportError:
        return None


def raw_fields(octets: bytes) -> dict[str, str]:
    """A message's fields as they stand in it, by name in lower case; never raises."""
    try:
        return {name.lower(): str(value) for name, value in entity_of(octets).fields.items()}
    except Exception:
        # As in shown_message.
        return {}


def _people(label: str, value: str) -> ShownField:
    try:
        found = header_mailboxes(value)
    except MalformedAddress:
        return ShownField(label, text=display(value))
    people = tuple(Person(one.name, str(one.endpoint)) for one in found[:MOST_PEOPLE])
    return ShownField(label, people, more=max(len(found) - MOST_PEOPLE, 0))


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
