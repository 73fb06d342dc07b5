"""The keys that our users sign with, published for whoever gets their messages.

``GET /PREFIX/alice@A/keys``: a comment line for each key, so that ``age -R`` can read the same
resource when it names keys to seal to; ``?form=allowed-signers`` as ``ssh-keygen -Y verify -f``
reads it. An address without an account, and one without a key, get the same empty list.
"""

from sqlalchemy import Column, Double, Table, Text, delete, insert, select
from sqlalchemy.exc import IntegrityError
from webob import Request, Response

from xhmtp_wsgi.agent import Agent
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Duplicate, Forbidden, Misdirected, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.published_keys import allowed_signers, key_lines
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.responses import response
from xhmtp_wsgi.routes import KeysRoute
from xhmtp_wsgi.schema import metadata

MOST_KEYS = 10

author_keys = Table(
    "author_key",
    metadata,
    Column("address", Text, primary_key=True),
    Column("line", Text, primary_key=True),
    Column("added_at", Double, nullable=False),
)


def published_keys(agent: Agent, request: Request, route: KeysRoute) -> Response:
    """``GET /PREFIX/alice@A/keys``."""
    if not agent.accounts.acts_for(route.endpoint.domain):
        raise Misdirected(f"this agent does not act for {route.endpoint.domain}")
    keys = keys_of(agent.database, route.endpoint)
    if request.GET.get("form") == "allowed-signers":
        text = allowed_signers(route.endpoint, keys)
    else:
        text = key_lines(keys)
    return response(200, text.encode("ascii"), "text/plain; charset=utf-8")


def keys_of(database: Database, endpoint: Endpoint) -> list[PublicKey]:
    """A user's keys, the newest first."""
    with database.reading() as connection:
        found = connection.execute(
            select(author_keys.c.line)
            .where(author_keys.c.address == str(endpoint.canonical))
            .order_by(author_keys.c.added_at.desc(), author_keys.c.line)
        ).scalars()
        return [PublicKey.parse(line) for line in found]


def add_key(database: Database, endpoint: Endpoint, key: PublicKey, now: float) -> None:
    """Registers a key. Raises Duplicate, or Forbidden above MOST_KEYS."""
    if len(keys_of(database, endpoint)) >= MOST_KEYS:
        raise Forbidden(f"{endpoint} has {MOST_KEYS} keys; take one back first")
    try:
        with database.transaction() as connection:
            connection.execute(
                insert(author_keys).values(
                    address=str(endpoint.canonical), line=key.line(), added_at=now
                )
            )
    except IntegrityError:
        raise Duplicate(f"{endpoint} has that key already") from None


def remove_key(database: Database, endpoint: Endpoint, fingerprint: str) -> None:
    """Takes a key back. Raises NotFound."""
    for key in keys_of(database, endpoint):
        if key.fingerprint() == fingerprint:
            with database.transaction() as connection:
                connection.execute(
                    delete(author_keys).where(
                        author_keys.c.address == str(endpoint.canonical),
                        author_keys.c.line == key.line(),
                    )
                )
            return
    raise NotFound(f"{endpoint} has no key {fingerprint[:100]}")
