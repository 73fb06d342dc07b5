"""What people have chosen, a value a name: whether copies are kept, how they sign, and so on."""

from sqlalchemy import Column, Table, Text, bindparam, delete, select

from xhmtp_wsgi.database import Database, insert_or
from xhmtp_wsgi.errors import Malformed
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.schema import metadata

MOST_VALUE = 10_000  # characters
FORM_SECRET = "form-secret"  # noqa: S105 - the name of a preference
"""No choice, but what the tokens in forms are made of: it stays with this agent."""

preferences = Table(
    "preference",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

_VALUE = select(preferences.c.value).where(
    preferences.c.owner == bindparam("owner"), preferences.c.name == bindparam("name")
)


def get(database: Database, owner: Endpoint, name: str, default: str) -> str:
    """What somebody has chosen, or the default."""
    with database.reading() as connection:
        found = connection.execute(_VALUE, {"owner": str(owner.canonical), "name": name}).scalar()
    return default if found is None else str(found)


def put(database: Database, owner: Endpoint, name: str, value: str) -> None:
    """Notes a choice. Raises Malformed for a value that is too long."""
    if len(value) > MOST_VALUE:
        raise Malformed(f"{name} has over {MOST_VALUE} characters")
    with database.transaction() as connection:
        connection.execute(
            insert_or(connection, preferences)
            .values(owner=str(owner.canonical), name=name, value=value)
            .on_conflict_do_update(
                index_elements=[preferences.c.owner, preferences.c.name], set_={"value": value}
            )
        )


def forget(database: Database, owner: Endpoint) -> None:
    """Forgets all choices of somebody whose account is removed."""
    with database.transaction() as connection:
        connection.execute(delete(preferences).where(preferences.c.owner == str(owner.canonical)))
