"""HTML mail made harmless, to be shown in the page itself.

It stands in the page, not in a frame: without script a frame cannot grow to the length of what is
in it, is one more thing to enter for who reads by ear or keyboard, and would keep neither the
reader's colours nor his letter size. What makes that safe are two lines of defence: nh3 lets
through the elements that are listed here, without styles, classes, names and handlers, so that
nothing of a message can lie over the page, or pass for a part of it; and the page's own
Content-Security-Policy has no inline script, no frame, no form to elsewhere and no picture from
elsewhere.

Security: pictures are shown only where they are whole in the message, by their first octets one of
four kinds; nothing is loaded from elsewhere, as that would tell who reads, when and where.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from xhmtp_wsgi.web.bounded_html import LEADS, STAND_INS, bounded, destination

MOST_HTML = 1 << 20  # characters that are looked at
MOST_PICTURE = 1 << 20  # octets of one picture that is shown in the text

_ELEMENTS = {
    "a", "abbr", "b", "blockquote", "br", "caption", "cite", "code", "del", "details", "div", "em",
    "h3", "hr", "i", "img", "ins", "kbd", "li", "ol", "p", "pre", "q", "s", "small", LEADS,
    "strong", "sub", "summary", "sup", "table", "tbody", "td", "tr", "u", "ul",
}  # fmt: skip
_DIRECTED = ("blockquote", "div", "h3", "li", "ol", "p", "pre", "table", "ul")
_ATTRIBUTES = {
    **{name: {"dir"} for name in _DIRECTED},
    "a": {"href"},
    "img": {"src", "alt"},
    "td": {"colspan", "rowspan"},
}
_STOOD_FOR = str.maketrans(STAND_INS)
_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"RIFF", "webp"),
)
_DATA = re.compile(r"data:image/[a-z+.-]{1,20};base64,([A-Za-z0-9+/=\s]*)", re.IGNORECASE)
_SHOWN_DATA = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*")


@dataclass(frozen=True, slots=True)
class HarmlessHTML:
    """HTML that may stand in a page.

    ``pictures``: how many it wanted from elsewhere; ``is_cut``: there is more than is shown;
    ``length``: characters of its text.
    """

    html: Markup
    pictures: int
    is_cut: bool
    length: int


def no_picture(_identifier: str) -> bytes | None:
    """Where a message has no pictures in it."""
    return None


def harmless_html(
    html: str, most: int, attached: Callable[[str], bytes | None] = no_picture
) -> HarmlessHTML:
    """HTML that strangers wrote, with ``most`` characters of its text at the most.

    ``attached``: a picture in the message, by its Content-ID (RFC 2392). Takes linear time. Raises
    ImportError where nh3 cannot be loaded, as in a second interpreter of a process it may not.
    """
    import nh3

    def picture(address: str) -> str | None:
        scheme, _, rest = address.partition(":")
        if scheme.lower() == "cid":
            octets = attached(rest)
            return None if octets is None else picture_address(octets)
        given = _DATA.fullmatch(address) if len(address) < 2 * MOST_PICTURE else None
        return None if given is None else _checked(given[1])

    found = bounded(html[:MOST_HTML], picture, most)
    clean = nh3.clean(
        found.html,
        tags=_ELEMENTS,
        attributes=_ATTRIBUTES,
        attribute_filter=_filtered,
        url_schemes={"http", "https", "mailto", "data"},
        url_relative="deny",
        link_rel="noreferrer noopener nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )
    clean = clean.translate(_STOOD_FOR)
    is_cut = found.is_cut or len(html) > MOST_HTML
    # nh3's output is what may stand in a page.
    return HarmlessHTML(Markup(clean), found.pictures, is_cut, found.length)  # noqa: S704


def picture_address(octets: bytes) -> str | None:
    """An address that holds a picture whole; None for what is none of those that are shown."""
    kind = next((name for begin, name in _KINDS if octets.startswith(begin)), None)
    if kind is None or len(octets) > MOST_PICTURE or (kind == "webp" and octets[8:12] != b"WEBP"):
        return None
    return f"data:image/{kind};base64,{base64.b64encode(octets).decode('ascii')}"


def _checked(encoded: str) -> str | None:
    try:
        return picture_address(base64.b64decode("".join(encoded.split()), validate=True))
    except binascii.Error:
        return None


def _filtered(tag: str, name: str, value: str) -> str | None:
    """nh3 asks for each attribute: only what was checked before passes."""
    if tag == "img" and name == "src":
        return value if _SHOWN_DATA.fullmatch(value) else None
    if tag == "a" and name == "href":
        return value if destination(value) is not None else None
    return value
