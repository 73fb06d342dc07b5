"""A stranger's HTML made small and well-nested, so that what reads it next takes linear time.

nh3's parser follows the HTML standard, whose rules are quadratic: 500 KB of ``<div>`` took it 81 s,
and 2.8 MB of text with an ``&amp;`` in each 25 characters 28 s. So tags are read here first, once
from left to right: what is kept is closed in order, nested DEEPEST deep at the most, and of
attributes only those few that a reader needs. What a picture is, and where a link leads, are
decided here too, as both are told to the reader.

Security: this makes nothing harmless; nh3 does, on what comes out of here (``harmless_html``).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape, unescape
from urllib.parse import urlsplit

from xhmtp_wsgi.protocol.mime_parts import harmless

DEEPEST = 100  # elements in elements
MOST_TAGS = 10_000
MOST_ADDRESS = 2000  # characters of a link's address
MOST_SPAN = 50  # columns or rows
MOST_ALT = 300  # characters

LEADS = "samp"
"""The element in which the page tells where a link leads; a sender's own are left out."""
QUOTE = "<details><summary>Quoted text</summary><blockquote>"

STAND_INS = {"\ue000": "&amp;", "\ue001": "&lt;", "\ue002": "&gt;"}
"""For what must be escaped in text, until nh3 has read it: each such name has it copy the text."""
_STOOD_FOR = str.maketrans(
    {"&": "\ue000", "<": "\ue001", ">": "\ue002", **dict.fromkeys(STAND_INS, "\ufffd")}
)

# What begins a tag, a comment or a declaration; any other < is text.
_START = re.compile(r"<[a-zA-Z!?/]")
# The name of a tag, and its attributes; where one does not end, it goes on to the end of the text.
_TAG = re.compile(r"</?([a-zA-Z][^\s/>]*+)")
_ATTRIBUTE = re.compile(
    r"""[\s/]*+([^\s/>][^\s/>=]*+)(?:\s*+=\s*+("[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s>"'][^\s>]*+)?)?"""
)
_TAG_END = re.compile(r"[\s/]*+(?:>|\Z)")
_UNSHOWN = ("script", "style", "title", "iframe", "noembed", "noframes", "xmp")
_ELEMENT_ENDS = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE | re.ASCII) for name in _UNSHOWN
}
# Headings of strangers would be headings of the page; who listens to it goes by these.
_KEPT: Mapping[str, str] = {
    **{name: name for name in (
        "b", "strong", "i", "em", "u", "s", "del", "ins", "sub", "sup", "small", "code", "kbd",
        "pre", "p", "div", "blockquote", "ul", "ol", "li", "table", "caption", "tr", "td", "a", "q",
        "cite", "abbr",
    )},
    **{f"h{number}": "h3" for number in range(1, 7)},
    "strike": "s", "center": "div", "th": "td", "dt": "p", "dd": "p", "tt": "code",
    "section": "div", "article": "div", "header": "div", "footer": "div", "main": "div",
}  # fmt: skip
_BLOCKS = frozenset({"p", "div", "blockquote", "ul", "ol", "table", "pre", "h3", "li"})
_TABLE = frozenset({"table", "tr", "td", "caption"})
_BOUNDS: Mapping[str, frozenset[str]] = {
    "p": _BLOCKS - {"p"} | _TABLE,
    "li": frozenset({"ul", "ol"}) | _TABLE,
    "tr": frozenset({"table"}),
    "td": frozenset({"tr"}),
}
"""What ends another of its kind, unless one of these is between."""
_DIRECTIONS = ("ltr", "rtl")
_LINK = re.compile(r"(?:https?://|mailto:)[^\s\"'<>\\^`{|}\x00-\x20\x7f-\x9f]+", re.IGNORECASE)

Picture = Callable[[str], str | None]
"""What the page shows for a picture's address: one that holds it whole, or None."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """The HTML; how many pictures it wanted from elsewhere; whether it is cut short.

    ``length``: characters of its text.
    """

    html: str
    pictures: int
    is_cut: bool
    length: int


def bounded(html: str, picture: Picture, most: int) -> Bounded:
    """The HTML, with ``most`` characters of text and MOST_TAGS tags. Takes linear time."""
    writer = _Writer(picture, most)
    _read(html, writer)
    writer.close_to(0)
    return Bounded(
        "".join(writer.written), writer.pictures, writer.is_full, length=most - writer.left
    )


def destination(address: str) -> str | None:
    """Where a link leads, as the reader is told: a host or an address; None where it must not."""
    if len(address) > MOST_ADDRESS or not _LINK.fullmatch(address):
        return None
    try:
        parts = urlsplit(address)
        host = (parts.hostname or "").encode("idna" if not address.isascii() else "ascii").decode()
    except (ValueError, UnicodeError):
        return None
    return parts.path if parts.scheme == "mailto" else host or None


def _read(html: str, writer: "_Writer") -> None:
    place = 0
    while place < len(html) and not writer.is_full:
        found = _START.search(html, place)
        start = len(html) if found is None else found.start()
        if start > place:
            writer.text(_unescaped(html[place:start]))
        tag = _TAG.match(html, start)
        if tag is None:
            place = _after_comment(html, start)
            continue
        name, closing = tag[1].lower(), html.startswith("</", start)
        attributes, place = _attributes(html, tag.end())
        if closing:
            writer.close(name)
        elif name in _ELEMENT_ENDS:
            end = _ELEMENT_ENDS[name].search(html, place)
            place = len(html) if end is None else end.start()
        else:
            writer.open(name, attributes)


def _after_comment(html: str, start: int) -> int:
    """Where a comment ends, or what browsers take for one; at the end, if it does not."""
    mark = "-->" if html.startswith("<!--", start) else ">"
    # "<!-->" is whole.
    found = html.find(mark, start + 2)
    return len(html) if found < 0 else found + len(mark)


_READ_ATTRIBUTES = frozenset({"href", "src", "alt", "dir", "colspan", "rowspan"})


def _attributes(html: str, place: int) -> tuple[dict[str, str], int]:
    """Those attributes of a tag that are looked at, and where the tag ends."""
    found: dict[str, str] = {}
    while True:
        end = _TAG_END.match(html, place)
        if end is not None:
            return found, end.end()
        attribute = _ATTRIBUTE.match(html, place)
        if attribute is None:
            return found, len(html)
        name = attribute[1].lower()
        if name in _READ_ATTRIBUTES and name not in found:
            value = attribute[2] or ""
            quote = value[:1] if value[:1] in ('"', "'") else ""
            found[name] = _unescaped(value.strip(quote) if quote else value)
        place = attribute.end()


@dataclass
class _Writer:
    """Writes well-nested HTML; ``_open`` are the names that are not closed yet."""

    picture: Picture
    left: int
    written: list[str] = field(default_factory=list)
    pictures: int = 0
    is_full: bool = False
    _open: list[str] = field(default_factory=list)
    _tags: int = 0
    _link: str = ""
    _link_is_empty: bool = False

    def text(self, text: str) -> None:
        """Writes text, as far as there is room for it."""
        # harmless() takes the line ends at both ends away, which part words here.
        clean = harmless(f".{text}.")[1:-1]
        if len(clean) > self.left:
            self.is_full = True
            clean = clean[: self.left]
        self.left -= len(clean)
        if clean.strip():
            self._link_is_empty = False
        self.written.append(clean.translate(_STOOD_FOR))

    def open(self, name: str, attributes: Mapping[str, str]) -> None:
        """Writes a beginning tag, where it may stand here."""
        self._tags += 1
        if self._tags > MOST_TAGS:
            self.is_full = True
        elif name in ("br", "hr"):
            self.written.append(f"<{name}>")
        elif name == "img":
            self._picture(attributes)
        elif name in _KEPT:
            self._element(_KEPT[name], attributes)

    def close(self, name: str) -> None:
        """Writes an end tag, and those of all that is open within."""
        wanted = _KEPT.get(name)
        for depth in range(len(self._open) - 1, -1, -1):
            if self._open[depth] == wanted:
                self.close_to(depth)
                return
            if self._open[depth] in _TABLE and wanted not in _TABLE:
                # A stray end tag in a cell ends nothing outside it.
                return

    def close_to(self, depth: int) -> None:
        """Closes what is open, down to so many."""
        while len(self._open) > depth:
            name = self._open.pop()
            if name == "a":
                self._end_link()
            self.written.append(f"</{name}>")
            if name == "blockquote" and name not in self._open:
                self.written.append("</details>")
            if name == "a":
                # Behind the link, so that its own words cannot be taken for this.
                self.written.append(f" <{LEADS}>{escape(self._link)}</{LEADS}>")

    def _element(self, name: str, attributes: Mapping[str, str]) -> None:
        if name in _BLOCKS:
            self._end_sibling("p")
        if name in ("li", "tr", "td"):
            self._end_sibling(name)
        if not self._may_stand(name) or len(self._open) >= DEEPEST:
            return
        if name == "a":
            self._begin_link(attributes.get("href", "").strip())
            return
        if name == "blockquote" and name not in self._open:
            self.written.append(QUOTE)
        else:
            self.written.append(f"<{name}{_kept_attributes(name, attributes)}>")
        self._open.append(name)

    def _may_stand(self, name: str) -> bool:
        """Parts of lists and tables stand in lists and tables, and no link in a link."""
        around = {"li": ("ul", "ol"), "tr": ("table",), "td": ("tr",), "caption": ("table",)}
        if name in around:
            return any(one in self._open for one in around[name])
        return name != "a" or "a" not in self._open

    def _end_sibling(self, name: str) -> None:
        for depth in range(len(self._open) - 1, -1, -1):
            if self._open[depth] == name:
                self.close_to(depth)
                return
            if self._open[depth] in _BOUNDS[name]:
                return

    def _begin_link(self, address: str) -> None:
        leads = destination(address)
        if leads is not None:
            self._link, self._link_is_empty = leads, True
            self.written.append(f'<a href="{escape(address)}">')
            self._open.append("a")

    def _end_link(self) -> None:
        if self._link_is_empty:
            # A link without words could not be heard.
            self.written.append(escape(self._link))

    def _picture(self, attributes: Mapping[str, str]) -> None:
        source = attributes.get("src", "").strip()
        alternative = " ".join(harmless(attributes.get("alt", ""))[:MOST_ALT].split())
        shown = self.picture(source)
        if shown is not None:
            self._link_is_empty = self._link_is_empty and not alternative
            self.written.append(f'<img src="{escape(shown)}" alt="{escape(alternative)}">')
        elif source:
            self.pictures += 1
            if alternative:
                self.text(f"[{alternative}]")


def _kept_attributes(name: str, attributes: Mapping[str, str]) -> str:
    kept = ""
    if name in _BLOCKS and attributes.get("dir", "").lower() in _DIRECTIONS:
        kept += f' dir="{attributes["dir"].lower()}"'
    if name == "td":
        for span in ("colspan", "rowspan"):
            given = attributes.get(span, "")
            if given.isascii() and given.isdigit() and 1 < int(given[:3]) < MOST_SPAN:
                kept += f' {span}="{int(given[:3])}"'
    return kept


def _unescaped(text: str) -> str:
    try:
        return unescape(text)
    except ValueError:
        # A number of more digits than Python reads.
        return text
