"""The Flask site of example_app.py as gunicorn loads it, with XHMTP around it and without."""

import os
from typing import Any


def with_xhmtp() -> Any:
    """As example_app.py makes it."""
    from example_app import make_site

    return make_site("a.test", os.environ["XHMTP_CONFIG"])


def without() -> Any:
    """The same site, and nothing of ours imported."""
    from flask import Flask

    site = Flask("a.test")

    @site.get("/")
    def home() -> str:
        return "<h1>a.test</h1><p>This page is the site's own.</p>"

    return site
