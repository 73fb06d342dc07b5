"""The recipient's wing: receiver → origin → inbox → feed.

It is only told that a message exists, and stores no more than that. Never imports sender/: they
meet on the wire.
"""

from xhmtp_wsgi.recipient.feed import feed
from xhmtp_wsgi.recipient.receiver import notify
from xhmtp_wsgi.routes import InboxRoute
from xhmtp_wsgi.wing import Views

VIEWS: Views = {InboxRoute: {"POST": notify, "GET": feed}}
