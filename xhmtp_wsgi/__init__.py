"""XHMTP for WSGI sites: private messages from any domain to any other, with no mail server.

from xhmtp_wsgi import XHMTP
application = XHMTP(site, "xhmtp.toml")

These names are imported when first asked for: the notifier, which cron starts each minute, needs no
middleware.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from xhmtp_wsgi._version import __version__

if TYPE_CHECKING:
    from xhmtp_wsgi.agent import Agent
    from xhmtp_wsgi.arrival import Arrival
    from xhmtp_wsgi.middleware import XHMTP
    from xhmtp_wsgi.settings import Settings
    from xhmtp_wsgi.site_users import SiteUsers

__all__ = ["XHMTP", "Agent", "Arrival", "Settings", "SiteUsers", "__version__"]

_PLACES = {
    "Agent": "xhmtp_wsgi.agent",
    "Arrival": "xhmtp_wsgi.arrival",
    "Settings": "xhmtp_wsgi.settings",
    "SiteUsers": "xhmtp_wsgi.site_users",
    "XHMTP": "xhmtp_wsgi.middleware",
}


def __getattr__(name: str) -> Any:
    """The names that a site imports (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
