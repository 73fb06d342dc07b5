"""XHMTP for WSGI sites: private messages from any domain to any other, with no mail server.

from xhmtp_wsgi import XHMTP
application = XHMTP(site, "xhmtp.toml")
"""

from xhmtp_wsgi._version import __version__
from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.middleware import XHMTP
from xhmtp_wsgi.settings import Settings

__all__ = ["XHMTP", "Agent", "Settings", "__version__"]
