"""The views of the recipient's wing, by route and method; see sender/views.py."""

from xhmtp_wsgi.routes import DomainRoute, InboxRoute
from xhmtp_wsgi.wing import LateView, Views

NOTIFY = LateView("xhmtp_wsgi.recipient.receiver:notify")

VIEWS: Views = {
    InboxRoute: {"POST": NOTIFY, "GET": LateView("xhmtp_wsgi.recipient.feed:feed")},
    DomainRoute: {"POST": LateView("xhmtp_wsgi.recipient.receiver:notify_many")},
}
