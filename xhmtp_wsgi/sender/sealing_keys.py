"""The keys that our users want messages sealed to: age recipients, public halves alone.

Published at ``/bob@B/keys``. All that one address publishes are of one kind: whoever seals for it
then need not choose, and `age -R` reads the list as it is (it takes no list of both kinds).
"""

from collections.abc import Sequence

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
    """Publishes one key, as ``publish`` does."""
    publish(database, endpoint, [recipient], now, replace=replace)


def publish(
    database: Database,
    endpoint: Endpoint,
    recipients: Sequence[Recipient],
    now: float,
    *,
    replace: bool,
) -> list[Recipient]:
    """Publishes keys beside those that are there, or (``replace``) in their place: all, or none.

    Returns those meant, new ones first. Raises Duplicate where all of them are published already,
    Forbidden above MOST_KEYS, or MixedKeys where not all would be of one kind.
    """
    here = recipients_of(database, endpoint)
    wanted = list(dict.fromkeys(recipients))
    new = [recipient for recipient in wanted if recipient not in here]
    if not new:
        raise Duplicate(f"{endpoint} publishes that key already")
    meant = sorted(wanted, key=lambda recipient: recipient in here) if replace else new
    together = meant if replace else [*meant, *here]
    if len({recipient.kind for recipient in wanted}) > 1:
        raise MixedKeys("these keys are of two kinds, and all must be of one")
    if len({recipient.kind for recipient in together}) > 1:
        raise MixedKeys(
            f"the keys of {endpoint} are of another kind, and all must be of one: replace them"
        )
    if len(together) > MOST_KEYS:
        raise Forbidden(f"{endpoint} would have more than {MOST_KEYS} keys; take one back first")
    address = str(endpoint.canonical)
    with database.transaction() as connection:
        if replace:
            connection.execute(delete(sealing_keys).where(sealing_keys.c.address == address))
        connection.execute(
            insert(sealing_keys),
            [{"address": address, "recipient": str(one), "added_at": now} for one in meant],
        )
    return meant


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
