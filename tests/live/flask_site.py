"""A Flask site with XHMTP around it, as gunicorn loads it."""

import os

from example_app import make_site

application = make_site("b.example", os.environ["XHMTP_CONFIG"])
