"""``settings/feeds``: addresses for feed readers, each with a token of its own; and OPML of them.

Security: an address with its token is shown once, when it is made. A token reads the feed, and does
nothing else.
"""

from xml.etree import ElementTree

from webob import Response

from xhmtp_wsgi.errors import Malformed, NotFound
from xhmtp_wsgi.responses import response
from xhmtp_wsgi.routes import inbox_path
from xhmtp_wsgi.web.rendering import PAGE_HEADERS
from xhmtp_wsgi.web.visit import Visit

MOST_LABEL = 100  # characters
MOST_TOKENS = 100


def shown(visit: Visit) -> Response:
    """His addresses, by their labels."""
    return _page(visit)


def changed(visit: Visit) -> Response:
    """Makes an address and shows it, or ends one."""
    form = visit.form()
    if form.text("do") == "end":
        number = form.number("feed")
        if number is None:
            raise NotFound("there is no such feed address")
        visit.agent.accounts.revoke_token(visit.owner, number)
        return visit.redirect("settings", "feeds", note="feed-ended")
    return _page(visit, made=_with_token(visit))


def listed(visit: Visit) -> Response:
    """``GET settings/feeds.opml``: without a token; the reader asks for the password."""
    return _opml(visit, _address(visit))


def listed_with_token(visit: Visit) -> Response:
    """``POST settings/feeds.opml``: with a new one."""
    return _opml(visit, _with_token(visit))


def _with_token(visit: Visit) -> str:
    """A new address."""
    label = " ".join(visit.form().text("label").split())
    if not 0 < len(label) <= MOST_LABEL:
        raise Malformed(f"name the reader, in 1 to {MOST_LABEL} characters")
    if len(visit.agent.accounts.tokens(visit.owner)) >= MOST_TOKENS:
        raise Malformed(f"there are {MOST_TOKENS} feed addresses; end one first")
    # Before anything is made: it may be that the DNS does not answer.
    address = _address(visit)
    return f"{address}?token={visit.agent.accounts.add_token(visit.owner, label)}"


def _address(visit: Visit) -> str:
    """The feed's, as it is reached from outside. Raises a Transient error."""
    return f"{visit.agent.url_of(visit.owner.domain)}{inbox_path(visit.prefix, visit.owner)}"


def _page(visit: Visit, made: str = "") -> Response:
    return visit.page(
        "settings_feeds.html",
        made=made,
        tokens=visit.agent.accounts.tokens(visit.owner),
        most_label=MOST_LABEL,
    )


def _opml(visit: Visit, address: str) -> Response:
    """OPML 2.0, as feed readers take it in."""
    title = f"Messages for {visit.owner}"
    root = ElementTree.Element("opml", version="2.0")
    ElementTree.SubElement(ElementTree.SubElement(root, "head"), "title").text = title
    outline = {"type": "rss", "text": title, "title": title, "xmlUrl": address}
    ElementTree.SubElement(ElementTree.SubElement(root, "body"), "outline", outline)
    headers = {**PAGE_HEADERS, "Content-Disposition": 'attachment; filename="feeds.opml"'}
    body: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return response(200, body, "text/x-opml; charset=utf-8", headers)
