"""Notices that were taken before there were words and conversations: put where they are found.

`xhmtp db upgrade` calls it. It may end at any point and be run again: what has a conversation was
done; what has no Message-ID to have one by is done once more, which changes nothing.
"""

from sqlalchemy import select, update

from xhmtp_wsgi import search
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.conversation import identifiers, thread_of
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.recipient.inbox import SEARCH_KIND, searchable
from xhmtp_wsgi.recipient.tables import mailboxes, notices

BATCH = 500  # notices in one transaction


def index_missing(database: Database) -> int:
    """Indexes those that are not; returns how many they were. Raises as the database does."""
    done = 0
    last = ""
    while True:
        with database.transaction() as connection:
            found = connection.execute(
                select(notices.c.id, notices.c.headers, mailboxes.c.address)
                .join(mailboxes)
                .where(
                    notices.c.thread.is_(None),
                    notices.c.deleted_at.is_(None),
                    notices.c.id > last,
                )
                .order_by(notices.c.id)
                .limit(BATCH)
            ).all()
            for row in found:
                scanned = scan(row.headers, len(row.headers)) if row.headers else ()
                fields = {field.name.lower(): field.value for field in scanned}
                connection.execute(
                    update(notices)
                    .where(notices.c.id == row.id)
                    .values(
                        thread=thread_of(fields) or None,
                        message_id=next(iter(identifiers(fields.get("message-id", ""))), None),
                    )
                )
                owner = Endpoint.parse(row.address)
                search.put(connection, owner, SEARCH_KIND, row.id, searchable(fields))
        if not found:
            return done
        done += len(found)
        last = found[-1].id
