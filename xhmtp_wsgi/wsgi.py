"""A WSGI application with no site behind it: XHMTP below the prefix, 404 elsewhere.

XHMTP_CONFIG=xhmtp.toml gunicorn xhmtp_wsgi.wsgi:application
"""

import os
from collections.abc import Iterable

from xhmtp_wsgi.middleware import XHMTP
from xhmtp_wsgi.settings import find_file
from xhmtp_wsgi.wing import Environ, StartResponse


def no_site(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """404 for everything."""
    start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "10")])
    return [b"Not found\n"]


application = XHMTP(no_site, find_file(os.environ))
