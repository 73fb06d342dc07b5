"""How many octets of messages are kept for each sender."""

from sqlalchemy import Connection, text

from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.sender.tables import usage

_CHARGE = text(
    "INSERT INTO sender_usage (sender, octets) VALUES (:sender, :octets) ON CONFLICT (sender) "
    "DO UPDATE SET octets = sender_usage.octets + excluded.octets RETURNING octets"
).columns(usage.c.octets)


def charge(connection: Connection, sender: Endpoint, octets: int) -> int:
    """Counts octets that are kept for a sender, or with a minus let go; returns how many are."""
    values = {"sender": str(sender), "octets": octets}
    return int(connection.execute(_CHARGE, values).scalar_one())
