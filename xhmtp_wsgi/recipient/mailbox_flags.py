"""What is seen and starred in a whole mailbox: for programs that keep a copy of it in step."""

from dataclasses import dataclass

from sqlalchemy import select

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.recipient.mailbox import TRASH
from xhmtp_wsgi.recipient.tables import mailboxes, notices


@dataclass(frozen=True, slots=True)
class Flags:
    """What its owner did with a message; ``position``: its number in the mailbox."""

    position: int
    seen: bool
    starred: bool


def flags_of(database: Database, owner: Endpoint) -> dict[str, Flags]:
    """Of each message by its ID; those in quarantine and in the trash are left out."""
    with database.reading() as connection:
        found = connection.execute(
            select(notices.c.id, notices.c.position, notices.c.seen_at, notices.c.starred_at)
            .join(mailboxes)
            .where(
                mailboxes.c.address == str(owner.canonical),
                notices.c.position > 0,
                notices.c.deleted_at.is_(None),
                notices.c.folder != TRASH,
            )
        )
        return {
            row.id: Flags(row.position, row.seen_at is not None, row.starred_at is not None)
            for row in found
        }
