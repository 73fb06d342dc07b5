"""What somebody chooses: ``settings`` and what lies below it, each part a page of its own."""

from collections.abc import Mapping

from webob import Response

from xhmtp_wsgi.errors import MethodNotAllowed, NotFound
from xhmtp_wsgi.web import (
    own_choices,
    own_feeds,
    own_filters,
    own_keys,
    own_password,
    own_sealing,
)
from xhmtp_wsgi.web.page import Page
from xhmtp_wsgi.web.visit import Visit

PARTS: Mapping[tuple[str, ...], Page] = {
    (): Page(get=own_choices.shown, post=own_choices.chosen),
    ("password",): Page(get=own_password.shown, post=own_password.changed),
    ("feeds",): Page(get=own_feeds.shown, post=own_feeds.changed),
    ("feeds.opml",): Page(get=own_feeds.listed, post=own_feeds.listed_with_token),
    ("filters",): Page(get=own_filters.shown, post=own_filters.changed),
    ("keys",): Page(get=own_keys.shown, post=own_keys.changed),
    ("sealing",): Page(get=own_sealing.shown, post=own_sealing.changed),
}
"""By what stands behind ``settings`` in the path."""


def shown(visit: Visit) -> Response:
    """``GET settings/...``."""
    page = _part(visit)
    if page.get is None:
        raise MethodNotAllowed("GET", ("POST",))
    return page.get(visit)


def changed(visit: Visit) -> Response:
    """``POST settings/...``."""
    page = _part(visit)
    if page.post is None:
        raise MethodNotAllowed("POST", ("GET", "HEAD"))
    return page.post(visit)


MOST_OCTETS = 512 << 10
"""Of a form: an OpenPGP key may have 256 KiB, and is half as long again as a field of a form."""
PAGES: Mapping[str, Page] = {"settings": Page(get=shown, post=changed, most=MOST_OCTETS)}


def _part(visit: Visit) -> Page:
    found = PARTS.get(visit.path[1:])
    if found is None:
        raise NotFound("there is no such page")
    return found
