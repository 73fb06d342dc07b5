"""Sessions of the pages: who has logged in with his password, by a cookie, and until when.

A session may also keep secret keys that its owner has unlocked. Who is logged in by the site, and
has no session of ours, is given one for that alone: it logs nobody in.

Security: a session's secret is random and long, and kept as a hash only. What it keeps unlocked is
encrypted with a key that is made of the secret: the database alone opens nothing. Logging out, the
session's end and a new password take it away.
"""

from collections.abc import Callable

from sqlalchemy import (
    Column,
    Double,
    ForeignKey,
    LargeBinary,
    Table,
    delete,
    insert,
    select,
    update,
)

from xhmtp_wsgi.accounts import Account, accounts
from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.access_code import hash_code, new_code
from xhmtp_wsgi.protocol.endpoint import Endpoint
from xhmtp_wsgi.schema import metadata
from xhmtp_wsgi.secret_box import SecretBox

GOOD_FOR = 14 * 86400.0  # seconds
BESIDE_GOOD_FOR = 86400.0  # seconds
MOST_UNLOCKED = 16 << 10  # octets
_BESIDE = "beside-"

sessions = Table(
    "web_session",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    # What is unlocked in it, in a box that the session's secret opens.
    Column("unlocked", LargeBinary),
)


class Sessions:
    """The sessions of one agent's pages."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        """``clock``: seconds since the epoch."""
        self._database = database
        self._clock = clock

    def begin(self, account: Account) -> str:
        """Makes a session and returns its secret; takes away those that have run out."""
        return self._begun(account, new_code(), GOOD_FOR)

    def begin_beside(self, account: Account) -> str:
        """Makes one that logs nobody in and keeps what is unlocked; returns its secret."""
        return self._begun(account, f"{_BESIDE}{new_code()}", BESIDE_GOOD_FOR)

    def account(self, secret: str) -> Account | None:
        """Whose session that is; None if it is none, has run out, or logs nobody in."""
        if secret.startswith(_BESIDE):
            return None
        with self._database.reading() as connection:
            row = connection.execute(
                select(accounts.c.id, accounts.c.address)
                .join(sessions)
                .where(sessions.c.hash == hash_code(secret), sessions.c.expires_at > self._clock())
            ).one_or_none()
        return None if row is None else Account(row.id, Endpoint.parse(row.address))

    def keep_unlocked(self, secret: str, account: Account, octets: bytes) -> None:
        """Keeps something in a session of somebody's, in place of what it kept.

        Only the secret opens it. Nothing is kept in another's session, or in one that is over.
        """
        if len(octets) > MOST_UNLOCKED:
            raise ValueError("that is more than a session keeps")
        hashed = hash_code(secret)
        box = _box(secret).closed(octets, hashed.hex())
        with self._database.transaction() as connection:
            connection.execute(
                update(sessions)
                .where(sessions.c.hash == hashed, sessions.c.account_id == account.id)
                .values(unlocked=box)
            )

    def unlocked(self, secret: str, account: Account) -> bytes | None:
        """What a session of somebody's keeps; None if nothing, or if it has run out."""
        hashed = hash_code(secret)
        with self._database.reading() as connection:
            box = connection.execute(
                select(sessions.c.unlocked).where(
                    sessions.c.hash == hashed,
                    sessions.c.account_id == account.id,
                    sessions.c.expires_at > self._clock(),
                )
            ).scalar()
        return None if box is None else _box(secret).opened(box, hashed.hex())

    def lock(self, secret: str) -> None:
        """Takes away what a session keeps; one that is for nothing else ends."""
        if secret.startswith(_BESIDE):
            self.end(secret)
            return
        with self._database.transaction() as connection:
            connection.execute(
                update(sessions).where(sessions.c.hash == hash_code(secret)).values(unlocked=None)
            )

    def lock_all(self, account: Account) -> None:
        """Takes away what any session of somebody's keeps, as when he takes back his keys."""
        with self._database.transaction() as connection:
            connection.execute(
                update(sessions).where(sessions.c.account_id == account.id).values(unlocked=None)
            )

    def end(self, secret: str) -> None:
        """Ends a session."""
        with self._database.transaction() as connection:
            connection.execute(delete(sessions).where(sessions.c.hash == hash_code(secret)))

    def end_all(self, account: Account) -> None:
        """Ends all of somebody's, as when he has a new password."""
        with self._database.transaction() as connection:
            connection.execute(delete(sessions).where(sessions.c.account_id == account.id))

    def _begun(self, account: Account, secret: str, good_for: float) -> str:
        now = self._clock()
        with self._database.transaction() as connection:
            connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
            connection.execute(
                insert(sessions).values(
                    hash=hash_code(secret),
                    account_id=account.id,
                    created_at=now,
                    expires_at=now + good_for,
                )
            )
        return secret


def _box(secret: str) -> SecretBox:
    return SecretBox.of(secret.encode("utf-8", "surrogatepass"), "what a session has unlocked")
