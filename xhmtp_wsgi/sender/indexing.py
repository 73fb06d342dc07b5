"""Messages that were sent before there were words and conversations: put where they are found.

`xhmtp db upgrade` calls it. It may end at any point and be run again: what has a conversation was
done; what has no Message-ID to have one by is done once more, which changes nothing.
"""

from sqlalchemy import select, update

from xhmtp_wsgi import search
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.conversation import thread_of
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.protocol.header_block import scan
from xhmtp_wsgi.sender.outbox import SEARCH_KIND
from xhmtp_wsgi.sender.storing import searchable
from xhmtp_wsgi.sender.tables import messages

BATCH = 500  # messages in one transaction


def index_missing(database: Database) -> int:
    """Indexes those that are not; returns how many they were. Raises as the database does."""
    done = 0
    last = ""
    while True:
        with database.transaction() as connection:
            found = connection.execute(
                select(messages.c.id, messages.c.header, messages.c.sender)
                .where(messages.c.thread.is_(None), ~messages.c.is_report, messages.c.id > last)
                .order_by(messages.c.id)
                .limit(BATCH)
            ).all()
            for row in found:
                block = row.header.removesuffix(b"\r\n")
                fields = {one.name.lower(): one.value for one in scan(block, len(block))}
                connection.execute(
                    update(messages)
                    .where(messages.c.id == row.id)
                    .values(thread=thread_of(fields) or None)
                )
                owner = Endpoint.parse(row.sender)
                search.put(connection, owner, SEARCH_KIND, row.id, searchable(fields))
        if not found:
            return done
        done += len(found)
        last = found[-1].id
