"""The views of the recipient's wing, by route and method; see sender/views.py."""

from xhmtp_wsgi.recipient.feed import feed
from xhmtp_wsgi.recipient.receiver import notify
from xhmtp_wsgi.routes import InboxRoute
from xhmtp_wsgi.wing import Views

VIEWS: Views = {InboxRoute: {"POST": notify, "GET": feed}}
