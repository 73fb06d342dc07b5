"""Plain text as HTML: its lines as they are, its links to be followed, what it quotes folded away.

Security: everything is escaped; a link is made of an address that is shown as it is, and of none
that looks like another.
"""

import re
from collections.abc import Iterator
from itertools import groupby

from markupsafe import Markup, escape

from xhmtp_wsgi.web.bounded_html import destination

SHORT = 3  # lines of a quote that need not be folded away
_ADDRESS = re.compile(r"https?://[^\s<>\"'\\^`{|}]{1,2000}", re.IGNORECASE)
_TRAILING = ".,;:!?)]*_"
_SIGNATURE = "-- "


def text_as_html(text: str) -> Markup:
    """The text, made harmless before."""
    lines = text.split("\n")
    groups = [
        (is_quote, list(group)) for is_quote, group in groupby(lines, lambda one: one[:1] == ">")
    ]
    # Where there is nothing else, it is what is to be read.
    alone = not any(line.strip() for is_quote, group in groups if not is_quote for line in group)
    return Markup("").join(
        _quote(group, alone=alone) if is_quote else _own(group) for is_quote, group in groups
    )


def _quote(lines: list[str], *, alone: bool) -> Markup:
    quoted = Markup('<div class="text quote" dir="auto">{}</div>').format(_linked(lines))
    if alone or len(lines) <= SHORT:
        return quoted
    return Markup("<details><summary>Quoted text, {} lines</summary>{}</details>").format(
        len(lines), quoted
    )


def _own(lines: list[str]) -> Markup:
    """What is not quoted; an author's signature stands apart."""
    place = lines.index(_SIGNATURE) if _SIGNATURE in lines else len(lines)
    found = Markup("")
    for kind, part in (("text", lines[:place]), ("text muted", lines[place:])):
        if any(line.strip() for line in part):
            found += Markup('<div class="{}" dir="auto">{}</div>').format(kind, _linked(part))
    return found


def _linked(lines: list[str]) -> Markup:
    return Markup("").join(_with_links("\n".join(lines).strip("\n")))


def _with_links(text: str) -> Iterator[Markup]:
    place = 0
    for found in _ADDRESS.finditer(text):
        address = found[0].rstrip(_TRAILING)
        # With an @ a name could stand before the host that is not one.
        plain = address.isascii() and "@" not in address and destination(address) is not None
        yield escape(text[place : found.start()])
        place = found.start() + len(address)
        if plain:
            yield Markup(
                '<a href="{0}" target="_blank" rel="noreferrer noopener nofollow">{0}</a>'
            ).format(address)
        else:
            yield escape(address)
    yield escape(text[place:])
