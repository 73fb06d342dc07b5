"""A site with XHMTP under waitress, with nothing before it: /srv/example/venv/bin/python serve.py.

Publish the port in the SRV record: XHMTP needs no port 80.
"""

import os
import sys

from waitress import serve

sys.path.insert(0, "/srv/example")
os.chdir("/srv/example")

from wsgi import application  # noqa: E402 - found by the line above

serve(
    application,
    listen="0.0.0.0:8080",
    threads=8,
    # A little above max_message_size; beyond it waitress answers. It takes in whole requests before
    # it asks, into a file in TMPDIR: give that as much room.
    max_request_body_size=1074790400,
    # Seconds without a sign of life; waitress knows no least rate.
    channel_timeout=60,
    # X-Forwarded-For and its like are thrown away. Behind a proxy either name it here
    # (trusted_proxy, trusted_proxy_headers: waitress then changes REMOTE_ADDR), or leave the
    # headers as they are and name it in trusted_proxies in xhmtp.toml; never both.
    clear_untrusted_proxy_headers=True,
    ident=None,
)
