"""``settings``: whether copies of messages are kept, and what stands below those he writes."""

from webob import Response

from xhmtp_wsgi import preferences
from xhmtp_wsgi.errors import Malformed
from xhmtp_wsgi.web.visit import Visit

KEEP, SIGNATURE = "keep", "signature"
KEPT = {
    "never": "Never: what its sender withdraws is gone",
    "known": "From people whom you know: whom you have written to, or have read before",
    "always": "Of every message",
}
"""Whether the agent keeps a copy of a message that it fetched, and the words for it."""
MOST_SIGNATURE = 2000  # characters


def shown(visit: Visit) -> Response:
    """The form, as it was chosen last."""
    database, owner = visit.database, visit.owner
    return visit.page(
        "settings.html",
        kept=KEPT,
        keep=preferences.get(database, owner, KEEP, "never"),
        signature=preferences.get(database, owner, SIGNATURE, ""),
        most_signature=MOST_SIGNATURE,
    )


def chosen(visit: Visit) -> Response:
    """Notes the choices."""
    form = visit.form()
    keep, signature = form.text(KEEP), form.text(SIGNATURE).replace("\r\n", "\n").strip("\n")
    if keep not in KEPT:
        raise Malformed("there is no such choice")
    if len(signature) > MOST_SIGNATURE:
        raise Malformed(f"a signature has at most {MOST_SIGNATURE} characters")
    preferences.put(visit.database, visit.owner, KEEP, keep)
    preferences.put(visit.database, visit.owner, SIGNATURE, signature)
    return visit.redirect("settings", note="saved")
