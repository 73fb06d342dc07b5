"""The agent as it must not be: SQLite with synchronous=NORMAL, which answers before it has synced.

Only for test_order_of_writes, which must find that out.
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.pool import Pool

from xhmtp_wsgi.wsgi import application

__all__ = ["application"]


@event.listens_for(Pool, "checkout")
def _careless(connection: Any, _record: object, _proxy: object) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")
