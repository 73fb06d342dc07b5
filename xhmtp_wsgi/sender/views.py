"""The views of the sender's wing, by route and method.

Not in the package itself: the notifier uses the rooms behind them, and none of what views need.
"""

from xhmtp_wsgi.routes import KeysRoute, MessageRoute, OutboxRoute, StatusRoute
from xhmtp_wsgi.wing import LateView, Views

VIEWS: Views = {
    OutboxRoute: {
        "POST": LateView("xhmtp_wsgi.sender.injection_resource:inject"),
        "GET": LateView("xhmtp_wsgi.sender.fetch:sent"),
    },
    MessageRoute: {
        "GET": LateView("xhmtp_wsgi.sender.fetch:fetch"),
        "DELETE": LateView("xhmtp_wsgi.sender.fetch:withdraw"),
    },
    StatusRoute: {"GET": LateView("xhmtp_wsgi.sender.fetch:status")},
    KeysRoute: {"GET": LateView("xhmtp_wsgi.sender.keys_resource:serve_keys")},
}
