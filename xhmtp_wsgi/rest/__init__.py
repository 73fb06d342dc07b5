"""The mailbox as resources in JSON, for programs: ``/bob@B/api/...`` (docs/rest.md).

Each resource is declared once, as an Operation: from that come the path, the checks of what comes
in, and the description that is served at ``/openapi.json``.

Security: a feed token opens nothing here; what changes something wants a JSON body, or a method
that no other site's page can send, and is refused where a browser says that another site asks.
"""

from xhmtp_wsgi.routes import DescriptionRoute, ResourceRoute
from xhmtp_wsgi.wing import LateView, Views

# All, so that each resource tells which are its own.
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")

VIEWS: Views = {
    ResourceRoute: dict.fromkeys(METHODS, LateView("xhmtp_wsgi.rest.answering:answer")),
    DescriptionRoute: {"GET": LateView("xhmtp_wsgi.rest.description:describe")},
}
