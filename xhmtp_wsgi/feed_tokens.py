"""Feed tokens: made, listed and revoked; accounts.py lets whoever has one read the feed.

Security: they are random and long, so that a fast hash does for them; only that is kept.
"""

from dataclasses import dataclass

from sqlalchemy import (
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    Table,
    Text,
    delete,
    insert,
    select,
)

from xhmtp_wsgi.database import Database
from xhmtp_wsgi.protocol.access_code import hash_code, new_code
from xhmtp_wsgi.schema import metadata

tokens = Table(
    "token",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account_id", ForeignKey("account.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("label", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Token:
    """A feed token as it is kept: all but itself."""

    id: int
    label: str
    created_at: float


def add(database: Database, account: int, label: str, now: float) -> str:
    """Makes a token for an account; it cannot be shown again. ``now``: seconds since the epoch."""
    token = new_code()
    with database.transaction() as connection:
        connection.execute(
            insert(tokens).values(
                account_id=account, label=label, hash=hash_code(token), created_at=now
            )
        )
    return token


def listed(database: Database, account: int) -> list[Token]:
    """The tokens of an account, oldest first."""
    with database.reading() as connection:
        found = connection.execute(
            select(tokens.c.id, tokens.c.label, tokens.c.created_at)
            .where(tokens.c.account_id == account)
            .order_by(tokens.c.id)
        )
        return [Token(row.id, row.label, row.created_at) for row in found]


def revoke(database: Database, account: int, identifier: int) -> bool:
    """Ends a token at once; false where the account has none of that number."""
    with database.transaction() as connection:
        found = connection.execute(
            delete(tokens).where(tokens.c.id == identifier, tokens.c.account_id == account)
        )
    return bool(found.rowcount)
