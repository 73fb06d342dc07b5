"""How many octets of messages are kept for each sender."""

from sqlalchemy import Connection

from xhmtp_wsgi.database import insert_or
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.sender.tables import usage


def charge(connection: Connection, sender: Endpoint, octets: int) -> int:
    """Counts octets that are kept for a sender, or with a minus let go; returns how many are."""
    statement = insert_or(connection, usage).values(sender=str(sender), octets=octets)
    return int(
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=[usage.c.sender], set_={"octets": usage.c.octets + octets}
            ).returning(usage.c.octets)
        ).scalar_one()
    )
