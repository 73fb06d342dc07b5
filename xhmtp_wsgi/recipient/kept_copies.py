"""Copies of messages that bob's agent has fetched for him and keeps, where his choice says so.

With a copy he reads what its sender has since withdrawn, or whose agent is down. The octets are in
pieces, as the sender's are, and what was found of the message is kept with them.
"""

import json
from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
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
from xhmtp_wsgi.recipient.verdict import Check
from xhmtp_wsgi.schema import metadata

PIECE = 256 << 10  # octets of a copy in one row

kept_copies = Table(
    "kept_copy",
    metadata,
    Column("notice", ForeignKey("notice.id", ondelete="CASCADE"), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("checks", Text, nullable=False),
    Column("kept_at", Double, nullable=False),
)
kept_pieces = Table(
    "kept_piece",
    metadata,
    Column("notice", ForeignKey("kept_copy.notice", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("octets", LargeBinary, nullable=False),
)


def keep(
    database: Database, notice: str, octets: bytes, checks: Sequence[Check], now: float
) -> None:
    """Keeps a copy, in place of one that is there."""
    told = json.dumps([[check.name, check.result, check.reason] for check in checks])
    with database.transaction() as connection:
        connection.execute(delete(kept_copies).where(kept_copies.c.notice == notice))
        connection.execute(
            insert(kept_copies).values(notice=notice, size=len(octets), checks=told, kept_at=now)
        )
        for number, start in enumerate(range(0, len(octets), PIECE)):
            connection.execute(
                insert(kept_pieces).values(
                    notice=notice, number=number, octets=octets[start : start + PIECE]
                )
            )


def kept(database: Database, notice: str) -> tuple[bytes, tuple[Check, ...]] | None:
    """The octets of a copy, and what was found of them; None where none is kept."""
    with database.reading() as connection:
        told = connection.execute(
            select(kept_copies.c.checks).where(kept_copies.c.notice == notice)
        ).scalar()
        if told is None:
            return None
        found = connection.execute(
            select(kept_pieces.c.octets)
            .where(kept_pieces.c.notice == notice)
            .order_by(kept_pieces.c.number)
        ).scalars()
        return b"".join(found), tuple(Check(*check) for check in json.loads(told))


def which(database: Database, identifiers: Sequence[str]) -> frozenset[str]:
    """Those of these notices of which a copy is kept."""
    with database.reading() as connection:
        found = connection.execute(
            select(kept_copies.c.notice).where(kept_copies.c.notice.in_(list(identifiers)[:1000]))
        ).scalars()
        return frozenset(found)
