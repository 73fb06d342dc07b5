"""What pages are made with, by a name that changes with it: so a browser may keep it for ever.

``site.css`` is made from the settings: the site's colour, in a shade for light and one for dark
pages in which it can be read.
"""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

from xhmtp_wsgi.settings import Settings
from xhmtp_wsgi.web.colour import Colour

KINDS = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
OURS = ("style.css", "message.css", "script.js", "icon.svg")
SITE = "site.css"


@dataclass(frozen=True, slots=True)
class Asset:
    """One of them; ``name``: with a part of its hash."""

    name: str
    kind: str
    octets: bytes = field(repr=False)


def asset_name(settings: Settings, name: str) -> str:
    """The name under which an asset is served. Raises KeyError for none of ours."""
    return _assets(settings.accent_colour)[name].name


def find_asset(settings: Settings, served: str) -> Asset | None:
    """The asset that is served under that name."""
    found = _assets(settings.accent_colour).values()
    return next((one for one in found if one.name == served), None)


@lru_cache(maxsize=8)
def _assets(accent: str) -> dict[str, Asset]:
    directory = files("xhmtp_wsgi.web") / "assets"
    contents = {name: (directory / name).read_bytes() for name in OURS}
    contents[SITE] = _site_style(accent).encode()
    return {name: _asset(name, octets) for name, octets in contents.items()}


def _asset(name: str, octets: bytes) -> Asset:
    stem, _, kind = name.partition(".")
    mark = hashlib.sha256(octets).hexdigest()[:16]
    return Asset(f"{stem}-{mark}.{kind}", KINDS[kind], octets)


def _site_style(accent: str) -> str:
    chosen = Colour.parse(accent)
    light, dark = chosen.readable_on_light(), chosen.readable_on_dark()
    return (
        f":root{{--accent:{light};--on-accent:{light.ink()}}}\n"
        "@media (prefers-color-scheme:dark){"
        f":root{{--accent:{dark};--on-accent:{dark.ink()}}}}}\n"
    )
