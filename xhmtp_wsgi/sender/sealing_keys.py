"""The keys that our users want messages sealed to: age recipients, public halves alone.

Published at ``/bob@B/keys``. All that one address publishes are of one kind: whoever seals for it
then need not choose, and `age -R` reads the list as it is (it takes no list of both kinds).
"""

from sqlalchemy import Column, Double, Table, Text, delete, insert, select

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.errors import Duplicate, Forbidden, MixedKeys, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.sealing import Recipient
from xhmtp_wsgi.schema import metadata

MOST_KEYS = 10

sealing_keys = Table(
    "sealing_key",
    metadata,
    Column("address", Text, primary_key=True),
    Column("recipient", Text, primary_key=True),
    Column("added_at", Double, nullable=False),
)


def recipients_of(database: Database, endpoint: Endpoint) -> tuple[Recipient, ...]:
    """A user's keys, the newest first."""
    with database.reading() as connection:
        found = connection.execute(
            select(sealing_keys.c.recipient)
            .where(sealing_keys.c.address == str(endpoint.canonical))
            .order_by(sealing_keys.c.added_at.desc(), sealing_keys.c.recipient)
        ).scalars()
        return tuple(Recipient.parse(text) for text in found)


def add(
    database: Database, endpoint: Endpoint, recipient: Recipient, now: float, *, replace: bool
) -> None:
    """Publishes a key; ``replace``: in place of all others.

    Raises Duplicate, Forbidden above MOST_KEYS, or MixedKeys where the others are of another kind.
    """
    others = recipients_of(database, endpoint)
    if recipient in others:
        raise Duplicate(f"{endpoint} publishes that key already")
    if not replace:
        if len(others) >= MOST_KEYS:
            raise Forbidden(f"{endpoint} has {MOST_KEYS} keys; take one back first")
        if any(other.kind != recipient.kind for other in others):
            raise MixedKeys(
                f"the keys of {endpoint} are of another kind, and all must be of one: replace them"
            )
    address = str(endpoint.canonical)
    with database.transaction() as connection:
        if replace:
            connection.execute(delete(sealing_keys).where(sealing_keys.c.address == address))
        connection.execute(
            insert(sealing_keys).values(address=address, recipient=str(recipient), added_at=now)
        )


def remove(database: Database, endpoint: Endpoint, text: str) -> None:
    """Publishes a key no more. ``text``: the key, or its first 12 characters at least.

    Raises NotFound.
    """
    for recipient in recipients_of(database, endpoint):
        if len(text) >= 12 and str(recipient).startswith(text):
            with database.transaction() as connection:
                connection.execute(
                    delete(sealing_keys).where(
                        sealing_keys.c.address == str(endpoint.canonical),
                        sealing_keys.c.recipient == str(recipient),
                    )
                )
            return
    raise NotFound(f"{endpoint} publishes no key {text[:70]}")


def forget(database: Database, endpoint: Endpoint) -> None:
    """Forgets the keys of somebody whose account is removed."""
    with database.transaction() as connection:
        connection.execute(
            delete(sealing_keys).where(sealing_keys.c.address == str(endpoint.canonical))
        )
