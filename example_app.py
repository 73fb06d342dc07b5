"""A Flask site with XHMTP around it; and, when run, two such sites that send each other a message.

make run                              two sites, one message, then they keep serving
make run ARGS=--once                  ends after the delivery; exit 0 if every octet arrived
python example_app.py --message FILE  sends your own message
"""

from flask import Flask

from xhmtp_wsgi import XHMTP


def make_site(name: str, settings: str) -> XHMTP:
    """What a site's owner writes: his site, and XHMTP around it."""
    site = Flask(name)

    @site.get("/")
    def home() -> str:
        return f"<h1>{name}</h1><p>This page is the site's own.</p>"

    return XHMTP(site, settings)


if __name__ == "__main__":
    from demonstration.two_sites import main

    main(make_site)
