"""Sessions of the pages: who has logged in with his password, by a cookie, and until when.

Security: a session's secret is random and long, and kept as a hash only.
"""

from collections.abc import Callable

from sqlalchemy import Column, Double, ForeignKey, LargeBinary, Table, delete, insert, select

from xhmtp_wsgi.accounts import Account, accounts
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.access_code import hash_code, new_code
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.schema import metadata

GOOD_FOR = 14 * 86400.0  # seconds

sessions = Table(
    "web_session",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
)


class Sessions:
    """The sessions of one agent's pages."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        """``clock``: seconds since the epoch."""
        self._database = database
        self._clock = clock

    def begin(self, account: Account) -> str:
        """Makes a session and returns its secret; takes away those that have run out."""
        secret, now = new_code(), self._clock()
        with self._database.transaction() as connection:
            connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
            connection.execute(
                insert(sessions).values(
                    hash=hash_code(secret),
                    account_id=account.id,
                    created_at=now,
                    expires_at=now + GOOD_FOR,
                )
            )
        return secret

    def account(self, secret: str) -> Account | None:
        """Whose session that is; None if it is none, or has run out."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(accounts.c.id, accounts.c.address)
                .join(sessions)
                .where(sessions.c.hash == hash_code(secret), sessions.c.expires_at > self._clock())
            ).one_or_none()
        return None if row is None else Account(row.id, Endpoint.parse(row.address))

    def end(self, secret: str) -> None:
        """Ends a session."""
        with self._database.transaction() as connection:
            connection.execute(delete(sessions).where(sessions.c.hash == hash_code(secret)))

    def end_all(self, account: Account) -> None:
        """Ends all of somebody's, as when he has a new password."""
        with self._database.transaction() as connection:
            connection.execute(delete(sessions).where(sessions.c.account_id == account.id))
