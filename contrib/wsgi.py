"""What every server here loads, as /srv/example/wsgi.py: your site, with XHMTP around it."""

import logging

from mysite import application as site  # yours: Flask's app, Django's application, any WSGI site

from xhmtp_wsgi import XHMTP

# Without this Python prints warnings bare; fail2ban needs the time, and you will want it too.
logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")

application = XHMTP(site, "/etc/xhmtp/xhmtp.toml")
