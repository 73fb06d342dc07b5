"""A site that sets a cookie and notes every request that reaches it, with XHMTP around it."""

import os
from pathlib import Path

from xhmtp_wsgi import XHMTP
from xhmtp_wsgi.wing import Environ, StartResponse


def site(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Notes the path, and sets the cookie that no message may reach."""
    with Path(os.environ["COOKIE_SITE_LOG"]).open("a") as log:
        log.write(environ["PATH_INFO"] + "\n")
    headers = [("Content-Type", "text/html"), ("Set-Cookie", "session=secret-of-the-site; Path=/")]
    start_response("200 OK", headers)
    return [b"<!DOCTYPE html><title>the site</title><p>hello"]


application = XHMTP(site, os.environ["XHMTP_CONFIG"])
