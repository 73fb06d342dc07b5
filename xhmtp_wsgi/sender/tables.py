"""The tables of the sender's wing: messages, their octets, and who is still to be told.

A message's octets are kept in pieces, in the database itself: why, and what was measured, stands in
docs/architecture.md. A delivery is one recipient of one message; as long as he has not been told,
``next_try_at`` says when he is due and ``code`` holds his access code, afterwards only its hash is
kept (docs/protocol.md, sections 4 and 10). A message that is sealed may have several
representations (RFC 9110, section 3.2): one for each kind of keys, one for each recipient of Bcc;
their pieces are numbered on, one representation behind the other. A destination has a row as long
as its agents fail.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from xhmtp_wsgi.schema import PARTIAL, metadata

PIECE = 256 << 10  # octets of a message in one row

messages = Table(
    "message",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sender", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("header", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False, index=True),
    Column("expires_at", Double, nullable=False, index=True),
    Column("withdrawn_at", Double),
    # When its octets were let go; its row, which tells what became of it, is kept for longer.
    Column("emptied_at", Double),
    # A report of ours: nobody is told what becomes of that (RFC 3464, section 2.1).
    Column("is_report", Boolean, nullable=False, server_default=false()),
    # What stands in the sender's place in the URL of an anonymous message.
    Column("alias", Text),
    # The conversation it belongs to (protocol/conversation).
    Column("thread", Text),
    # Sealed to which kind of keys; null: in the clear. `header` is the outer one then.
    Column("sealed", Text),
    # The octets of all its representations, where it has several.
    Column("kept_octets", BigInteger),
    UniqueConstraint("sender", "message_id"),
    Index("ix_message_thread", "sender", "thread"),
    Index("ix_message_sent", "sender", "created_at"),
)

representations = Table(
    "message_representation",
    metadata,
    Column("message", ForeignKey("message.id", ondelete="CASCADE"), primary_key=True),
    # From 1: number 0 is what the message's own row tells.
    Column("number", Integer, primary_key=True),
    Column("first_piece", Integer, nullable=False),
    Column("header", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sealed", Text),
)

pieces = Table(
    "message_piece",
    metadata,
    Column("message", ForeignKey("message.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("octets", LargeBinary, nullable=False),
)

deliveries = Table(
    "delivery",
    metadata,
    # Not a plain BigInteger: SQLite numbers only an INTEGER primary key by itself.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("message", ForeignKey("message.id", ondelete="CASCADE"), nullable=False),
    Column("recipient", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("code", Text),
    Column("code_hash", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("queued_at", Double, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("last_try_at", Double),
    Column("next_try_at", Double),
    Column("last_status", Integer),
    Column("last_answer", Text),
    Column("lease_owner", Text),
    Column("lease_until", Double),
    Column("notified_at", Double),
    Column("fetched_at", Double),
    # Where the recipient's agent said that his inbox has moved to (308).
    Column("moved_to", Text),
    # The agent that was told although nothing but the DNS said that it is his.
    Column("unvouched", Text),
    # Since when he answers 401.
    Column("unverified_since", Double),
    Column("internal_failures", Integer, nullable=False, server_default="0"),
    Column("traceback", Text),
    Column("delay_told_at", Double),
    # Which of the message's representations he gets.
    Column("representation", Integer, nullable=False, server_default="0"),
    # What the sender is still to be told of it; one of failure_notice.Kind.
    Column("report_due", Text),
    UniqueConstraint("message", "recipient"),
    Index(
        "ix_delivery_report_due",
        "message",
        info={PARTIAL: "report_due IS NOT NULL"},
    ),
    Index(
        "ix_delivery_due",
        "domain",
        "next_try_at",
        info={PARTIAL: "next_try_at IS NOT NULL"},
    ),
)

destinations = Table(
    "destination",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("failing_since", Double, nullable=False),
    Column("next_try_at", Double, nullable=False),
    Column("last_answer", Text, nullable=False),
)

usage = Table(
    "sender_usage",
    metadata,
    Column("sender", Text, primary_key=True),
    Column("octets", BigInteger, nullable=False),
)
