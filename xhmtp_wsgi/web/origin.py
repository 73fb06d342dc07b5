"""Is a form that is sent to us one of our own? (CSRF; threats, row 36)

Two things must hold, however somebody is logged in: the browser says that a page of this very site
sent it, and it has the token that only pages of his have. A cookie, a site's log-in and Basic
credentials that a browser has kept are alike in this: the browser sends them along for anybody.

Security: ``Host`` is the client's word, so an Origin is compared with where the settings or the DNS
say that the agent is.
"""

import hashlib
import hmac
from urllib.parse import urlsplit

from sqlalchemy import select
from webob import Request

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.database import Database, insert_or
from xhmtp_wsgi.errors import Forbidden
from xhmtp_wsgi.preferences import FORM_SECRET, preferences
from xhmtp_wsgi.protocol.access_code import new_code
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.setting_types import AgentURL

TOKEN = "token"  # noqa: S105 - the name of a field
_PORTS = {"http": 80, "https": 443}


def require_own_page(agent: Agent, request: Request, owner: Endpoint) -> None:
    """Raises Forbidden unless the browser says that a page of this site sent the form.

    Raises a Transient error or BadDomain where it takes the agent's own URL to know, and that
    cannot be known.
    """
    told = request.environ.get("HTTP_SEC_FETCH_SITE")
    if told is not None:
        # No script of a page can set this one, and every browser of today sends it over TLS.
        if told not in ("same-origin", "none"):
            raise Forbidden("another site's page may not ask for this")
        return
    given = request.environ.get("HTTP_ORIGIN")
    if given is None:
        raise Forbidden("your browser does not say which page sent this form")
    own = agent.url_of(owner.domain)
    if not _is_own(given, own):
        raise Forbidden(f"this form may be sent by pages of {own} only")


def form_token(database: Database, owner: Endpoint, session: str | None) -> str:
    """What his forms must carry. ``session``: its secret; None where he has none of ours.

    Bound to the session, and ends with it; or else to a secret of his that never leaves us.
    """
    key = session or _secret(database, owner)
    message = f"a form of {owner.canonical}"
    return hmac.new(key.encode(), message.encode(), hashlib.sha256).hexdigest()


def require_token(expected: str, given: str) -> None:
    """Raises Forbidden for a form without its token, or with another's."""
    if not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
        raise Forbidden(
            "the page that sent this form is too old, or not one of yours; load it again"
        )


def _is_own(origin: str, own: AgentURL) -> bool:
    try:
        parts = urlsplit(origin)
        port = parts.port or _PORTS.get(parts.scheme)
        host = parts.hostname or ""
    except ValueError:
        return False
    rest = parts.path or parts.query or parts.fragment or parts.username
    expected = own.scheme, own.host, own.port or _PORTS[own.scheme]
    return not rest and (parts.scheme, host, port) == expected


def _secret(database: Database, owner: Endpoint) -> str:
    """His secret, made when first needed; of two that are made at once, one."""
    address = str(owner.canonical)
    wanted = select(preferences.c.value).where(
        preferences.c.owner == address, preferences.c.name == FORM_SECRET
    )
    with database.reading() as connection:
        found = connection.execute(wanted).scalar()
    if found is not None:
        return str(found)
    with database.transaction() as connection:
        connection.execute(
            insert_or(connection, preferences)
            .values(owner=address, name=FORM_SECRET, value=new_code())
            .on_conflict_do_nothing()
        )
        return str(connection.execute(wanted).scalar_one())
