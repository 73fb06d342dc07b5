"""The pages: bob's mailbox and alice's outbox, for people with a browser; no script is needed.

``pages`` leads from a path to a handler; ``login`` knows who visits, ``origin`` that a form is one
of ours; a ``Visit`` is what each handler gets. A site may replace any of templates/.

Security: only one's own pages, and a change only by a form of ours. Whatever strangers wrote is
escaped by the templates, and the Content-Security-Policy holds the same once more.
"""

from xhmtp_wsgi.recipient.receiver import notify
from xhmtp_wsgi.routes import AssetRoute, InboxRoute, PageRoute
from xhmtp_wsgi.web.asset import asset
from xhmtp_wsgi.web.front import feed_or_pages
from xhmtp_wsgi.web.pages import get, post
from xhmtp_wsgi.wing import Views

VIEWS: Views = {
    InboxRoute: {"POST": notify, "GET": feed_or_pages},
    PageRoute: {"GET": get, "POST": post},
    AssetRoute: {"GET": asset},
}
