"""May a message that is imported bear that From? As injection has it, in the import's transaction.

There the aliases and groups of the same import are seen, which nobody else sees yet.
"""

from sqlalchemy import Connection, select

from xhmtp_wsgi.addressing import MOST_STEPS, aliases
from xhmtp_wsgi.errors import Malformed
from xhmtp_wsgi.group_register import groups
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_values import addresses
from xhmtp_wsgi.protocol.message import Preamble
from xhmtp_wsgi.sender.failure_notice import LOCAL

_SENDER = ("sender", "resent-from", "resent-sender")


def require_own_from(
    connection: Connection, sender: Endpoint, preamble: Preamble, *, is_report: bool
) -> None:
    """Raises Malformed for a From, Sender or the like that this sender may not write.

    ``is_report``: only the agent itself makes such, as postmaster or as a group.
    """
    author = preamble.sender
    if is_report and sender.local != LOCAL and not _is_group(connection, sender):
        raise Malformed(f"{sender} makes no reports")
    if author is None:
        return
    if not _may_write_as(connection, sender, author):
        raise Malformed(f"From is not {sender}, nor an alias here that may send for him")
    # What a group passes on may bear those of its members.
    if not _is_group(connection, sender):
        for field in preamble.fields:
            if field.name.lower() in _SENDER and addresses(field.value) != (author,):
                raise Malformed(f"{field.name} is not {author}")


def _may_write_as(connection: Connection, sender: Endpoint, author: Endpoint) -> bool:
    """In his own name, also with a tag, and in that of an alias that leads to him and lets him."""
    current = author.canonical
    for _ in range(MOST_STEPS):
        if current == sender:
            return True
        row = connection.execute(
            select(aliases).where(aliases.c.address == str(current))
        ).one_or_none()
        if row is None:
            return Endpoint(current.local.partition("+")[0], current.domain) == sender
        if not row.may_send:
            return False
        current = Endpoint.parse(row.target).canonical
    return False


def _is_group(connection: Connection, sender: Endpoint) -> bool:
    found = select(groups.c.address).where(groups.c.address == str(sender))
    return connection.execute(found).first() is not None
