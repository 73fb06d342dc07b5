"""The keys that our users sign with: SSH keys, of which we know the public half alone.

Published for whoever gets their messages (keys_resource.py).
"""

from sqlalchemy import Column, Double, Table, Text, delete, insert, select
from sqlalchemy.exc import IntegrityError

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Duplicate, Forbidden, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.ssh_signature import PublicKey
from xhmtp_wsgi.schema import metadata

MOST_KEYS = 10

author_keys = Table(
    "author_key",
    metadata,
    Column("address", Text, primary_key=True),
    Column("line", Text, primary_key=True),
    Column("added_at", Double, nullable=False),
)


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


def forget(database: Database, endpoint: Endpoint) -> None:
    """Forgets the keys of somebody whose account is removed."""
    with database.transaction() as connection:
        connection.execute(
            delete(author_keys).where(author_keys.c.address == str(endpoint.canonical))
        )
