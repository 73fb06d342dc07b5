"""What his filters keep apart: ``GET quarantine`` shows it, ``POST`` releases or deletes of it."""

from collections.abc import Callable, Mapping
from contextlib import suppress

from webob import Response

from xhmtp_wsgi.errors import Malformed, NotFound
from xhmtp_wsgi.recipient import inbox
from xhmtp_wsgi.web.changes import ENTER, asked_again, is_sure
from xhmtp_wsgi.web.listing import received
from xhmtp_wsgi.web.page import Page
from xhmtp_wsgi.web.visit import Visit

MOST = 200  # messages that are shown; the others come up as these are dealt with

_ACTIONS: Mapping[str, tuple[Callable[..., None], str]] = {
    "release": (inbox.release, "released"),
    "drop": (inbox.drop, "dropped"),
}


def shown_quarantine(visit: Visit) -> Response:
    """The newest of them."""
    found = inbox.quarantined(visit.database, visit.owner, MOST + 1)
    lines = received(visit, found[:MOST])
    return visit.page("quarantine.html", lines=lines, more=len(found) > MOST)


def dealt_with(visit: Visit) -> Response:
    """Releases the chosen ones into the inbox, or deletes them for good."""
    form = visit.form()
    if form.text("do") == ENTER:
        return visit.redirect("quarantine")
    if form.text("do") not in _ACTIONS:
        raise Malformed("there is no such change")
    act, note = _ACTIONS[form.text("do")]
    chosen = form.texts("notice")
    if form.text("do") == "drop" and chosen and not is_sure(visit):
        return asked_again(visit, visit.url("quarantine"), "drop", chosen)
    for identifier in chosen:
        # Another window may have been quicker.
        with suppress(NotFound):
            act(visit.database, visit.owner, identifier, visit.agent.clock())
    return visit.redirect("quarantine", note=note if chosen else "nothing-chosen")


PAGES: Mapping[str, Page] = {"quarantine": Page(get=shown_quarantine, post=dealt_with)}
