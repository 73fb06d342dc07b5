"""Templates into pages: Jinja2, everything escaped, a site's own templates before ours.

A site's template may build on ours: ``{% extends "ours/layout.html" %}``.

Security: no page has an inline script or style, and its policy allows none.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
)
from webob import Response

from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.responses import response
from xhmtp_wsgi.settings import Settings
from xhmtp_wsgi.web import words
from xhmtp_wsgi.web.asset_files import asset_name

PAGE_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not "no-referrer": a browser's form would then say "Origin: null", which origin.py refuses.
    "Referrer-Policy": "same-origin",
    "Vary": "Authorization, Accept, Cookie",
}


def rendered(
    settings: Settings,
    prefix: str,
    owner: Endpoint,
    template: str,
    status: int,
    values: Mapping[str, Any],
) -> Response:
    """A page of ``owner``, as the template makes it of these values."""

    def asset(name: str) -> str:
        return f"/{prefix}/assets/{asset_name(settings, name)}"

    known = {
        "visit": None,
        **values,
        "asset": asset,
        "site_name": settings.site_name or owner.domain,
    }
    text = environment(settings.templates).get_template(template).render(known)
    body = text.encode("utf-8", "replace")
    return response(status, body, "text/html; charset=utf-8", PAGE_HEADERS)


@lru_cache(maxsize=8)
def environment(directory: str) -> Environment:
    """Jinja2 as our templates want it. ``directory``: a site's own; empty where it has none."""
    ours = PackageLoader("xhmtp_wsgi.web", "templates")
    loaders: list[BaseLoader] = [ours, PrefixLoader({"ours": ours})]
    if directory:
        loaders.insert(0, FileSystemLoader(directory))
    made = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(words.FILTERS)
    return made
