"""The pages: bob's mailbox and alice's outbox, for people with a browser; no script is needed.

``pages`` leads from a path to a handler; ``login`` knows who visits, ``origin`` that a form is one
of ours; a ``Visit`` is what each handler gets. A site may replace any of templates/.

Security: only one's own pages, and a change only by a form of ours. Whatever strangers wrote is
escaped by the templates, and the Content-Security-Policy holds the same once more.
"""

from xhmtp_wsgi.recipient.views import NOTIFY
from xhmtp_wsgi.routes import AssetRoute, InboxRoute, PageRoute
from xhmtp_wsgi.wing import LateView, Views

VIEWS: Views = {
    InboxRoute: {"POST": NOTIFY, "GET": LateView("xhmtp_wsgi.web.front:feed_or_pages")},
    PageRoute: {
        "GET": LateView("xhmtp_wsgi.web.pages:get"),
        "POST": LateView("xhmtp_wsgi.web.pages:post"),
    },
    AssetRoute: {"GET": LateView("xhmtp_wsgi.web.asset:asset")},
}
