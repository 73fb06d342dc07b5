"""The text of an HTML part, as people would read it, and nothing of what it would do.

Python's html.parser takes quadratic time for tags that do not end; this takes linear time for all.
"""

import re
from collections.abc import Iterator
from html import unescape

MOST_LINK = 500  # characters of a link's address that are shown

# The name of a tag, and its attributes; where one does not end, it goes on to the end of the text.
_TAG = re.compile(r"</?([a-zA-Z][^\s/>]*+)")
_ATTRIBUTE = re.compile(
    r"""[\s/]*+([^\s/>][^\s/>=]*+)(?:\s*+=\s*+("[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\s>"'][^\s>]*+)?)?"""
)
_TAG_END = re.compile(r"[\s/]*+(?:>|\Z)")
_UNSHOWN = frozenset({"script", "style", "title"})
_LINES = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre",
                    "blockquote", "hr", "table", "ul", "ol"})  # fmt: skip


def text_in(html: str) -> str:
    """The text of an HTML part, with the addresses that its links hide. Takes linear time."""
    lines: list[str] = []
    for line in "".join(_texts(html)).split("\n"):
        words = " ".join(line.split())
        if words or (lines and lines[-1]):
            lines.append(words)
    return "\n".join(lines).strip("\n")


def _texts(html: str) -> Iterator[str]:
    """The text between the tags, line ends for some of these, and links' addresses after them."""
    place, link, keeps_lines = 0, "", False
    while place < len(html):
        start = html.find("<", place)
        start = len(html) if start < 0 else start
        if start > place:
            text = html[place:start]
            yield _unescaped(text if keeps_lines else text.replace("\n", " "))
        tag = _TAG.match(html, start)
        if tag is None:
            if html[start : start + 2] not in ("<!", "<?", "</"):
                # "a < b", which is text.
                yield html[start : start + 1]
                place = start + 1
            else:
                place = _after_comment(html, start)
            continue
        name, closing = tag[1].lower(), html.startswith("</", start)
        address, place = _link_and_end(html, tag.end(), name)
        if name == "a":
            yield _shown(link)
            link = "" if closing else address
        elif name in _LINES:
            keeps_lines = not closing if name == "pre" else keeps_lines
            yield "\n"
        elif name in _UNSHOWN and not closing:
            place = _after_element(html, place, name)
    yield _shown(link)


def _link_and_end(html: str, place: int, name: str) -> tuple[str, int]:
    """The address in a tag, of which the name was read, and where the tag ends."""
    address = ""
    while True:
        end = _TAG_END.match(html, place)
        if end is not None:
            return address, end.end()
        attribute = _ATTRIBUTE.match(html, place)
        if attribute is None:
            return address, len(html)
        if name == "a" and not address and attribute[1].lower() == "href":
            value = (attribute[2] or "")[: 8 * MOST_LINK]
            address = _unescaped(value.strip("\"'" if value[:1] in "\"'" else ""))
        place = attribute.end()


def _after_comment(html: str, start: int) -> int:
    """Where a comment ends, or what browsers take for one; at the end, if it does not."""
    mark = "-->" if html.startswith("<!--", start) else ">"
    # "<!-->" is whole.
    found = html.find(mark, start + 2)
    return len(html) if found < 0 else found + len(mark)


_ELEMENT_ENDS = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE | re.ASCII) for name in _UNSHOWN
}


def _after_element(html: str, place: int, name: str) -> int:
    """Where the content ends of an element that holds no tags."""
    found = _ELEMENT_ENDS[name].search(html, place)
    return len(html) if found is None else found.start()


def _unescaped(text: str) -> str:
    try:
        return unescape(text)
    except ValueError:
        # A number of more digits than Python reads.
        return text


def _shown(link: str) -> str:
    words = " ".join(link.split())[:MOST_LINK]
    return f" <{words}>" if words else ""
