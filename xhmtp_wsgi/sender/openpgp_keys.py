"""The OpenPGP keys that our users publish, one for each address (web_key_directory.py serves them).

They are for mail programs: PGP/MIME passes here as any message does, and is opened by bob's.
"""

from sqlalchemy import Column, Double, LargeBinary, Table, Text, delete, select

from xhmtp_wsgi.database import Database, insert_or
from xhmtp_wsgi.errors import MalformedKey, NotFound
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.openpgp_key import OpenPGPKey
from xhmtp_wsgi.protocol.web_key import hashed
from xhmtp_wsgi.schema import metadata

openpgp_keys = Table(
    "openpgp_key",
    metadata,
    Column("address", Text, primary_key=True),
    Column("octets", LargeBinary, nullable=False),
    Column("added_at", Double, nullable=False),
)


def put(database: Database, endpoint: Endpoint, key: OpenPGPKey, now: float) -> None:
    """Publishes a key, in place of the one that was there.

    Raises MalformedKey where none of its User IDs has the address: nobody would take it for his.
    """
    if not key.is_of(endpoint):
        raise MalformedKey(f"no User ID of the key has the address {endpoint}")
    values = {"octets": key.octets, "added_at": now}
    with database.transaction() as connection:
        connection.execute(
            insert_or(connection, openpgp_keys)
            .values(address=str(endpoint.canonical), **values)
            .on_conflict_do_update(index_elements=[openpgp_keys.c.address], set_=values)
        )


def get(database: Database, endpoint: Endpoint) -> OpenPGPKey | None:
    """A user's key."""
    with database.reading() as connection:
        octets = connection.execute(
            select(openpgp_keys.c.octets).where(openpgp_keys.c.address == str(endpoint.canonical))
        ).scalar()
    return None if octets is None else OpenPGPKey.parse(octets)


def owner_of_hash(database: Database, domain: str, wanted: str) -> Endpoint | None:
    """Whose key has this hash in a Web Key Directory; None if nobody's has."""
    with database.reading() as connection:
        found = connection.execute(
            select(openpgp_keys.c.address).where(
                openpgp_keys.c.address.endswith(f"@{domain}", autoescape=True)
            )
        ).scalars()
        for address in found:
            endpoint = Endpoint.parse(address)
            if hashed(endpoint.local) == wanted:
                return endpoint
    return None


def remove(database: Database, endpoint: Endpoint, fingerprint: str) -> None:
    """Publishes a key no more; the end of its fingerprint is enough, from 16 digits on.

    Raises NotFound.
    """
    key = get(database, endpoint)
    wanted = "".join(fingerprint.split()).upper().removeprefix("0X")
    if key is None or len(wanted) < 16 or not key.fingerprint.endswith(wanted):
        raise NotFound(f"{endpoint} publishes no key {fingerprint[:100]}")
    forget(database, endpoint)


def forget(database: Database, endpoint: Endpoint) -> None:
    """Forgets the key of somebody whose account is removed."""
    with database.transaction() as connection:
        connection.execute(
            delete(openpgp_keys).where(openpgp_keys.c.address == str(endpoint.canonical))
        )
