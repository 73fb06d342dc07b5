"""The views of the sender's wing, by route and method.

Not in the package itself: the notifier uses the rooms behind them, and none of what views need.
"""

from xhmtp_wsgi.routes import KeysRoute, MessageRoute, OutboxRoute, StatusRoute
from xhmtp_wsgi.sender.fetch import fetch, sent, status, withdraw
from xhmtp_wsgi.sender.injection import inject
from xhmtp_wsgi.sender.keys_resource import serve_keys
from xhmtp_wsgi.wing import Views

VIEWS: Views = {
    OutboxRoute: {"POST": inject, "GET": sent},
    MessageRoute: {"GET": fetch, "DELETE": withdraw},
    StatusRoute: {"GET": status},
    KeysRoute: {"GET": serve_keys},
}
