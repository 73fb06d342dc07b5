"""The tables of the recipient's wing that several of its modules read: mailboxes, and notices.

A notice is a notification as it is kept; recipient/inbox.py tells what their positions are.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from xhmtp_wsgi.schema import PARTIAL, metadata

mailboxes = Table(
    "mailbox",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("address", Text, nullable=False, unique=True),
    Column("last_position", BigInteger, nullable=False, server_default="0"),
    Column("version", BigInteger, nullable=False, server_default="0"),
    Column("changed_at", Double, nullable=False),
    Column("last_quarantined", BigInteger, nullable=False, server_default="0"),
)

notices = Table(
    "notice",
    metadata,
    Column("id", Text, primary_key=True),
    Column("mailbox", ForeignKey("mailbox.id", ondelete="CASCADE"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("url_hash", LargeBinary, nullable=False),
    Column("url", Text, nullable=False),
    Column("headers", LargeBinary, nullable=False),
    Column("size", BigInteger),
    Column("digest", LargeBinary),
    Column("source", Text, nullable=False),
    Column("checks", Text, nullable=False),
    Column("received_at", Double, nullable=False),
    # What its owner has done with it; mailbox.py works on these.
    Column("folder", Text, nullable=False, server_default="inbox"),
    Column("seen_at", Double),
    Column("starred_at", Double),
    # Deleted: the row is kept, emptied, so that a repeated notification is known to have come.
    Column("deleted_at", Double),
    Column("message_id", Text),
    Column("thread", Text),
    UniqueConstraint("mailbox", "position"),
    UniqueConstraint("mailbox", "url_hash"),
    Index("ix_notice_folder", "mailbox", "folder", "position"),
    Index("ix_notice_thread", "mailbox", "thread"),
    Index("ix_notice_message_id", "mailbox", "message_id"),
    Index(
        "ix_notice_unseen",
        "mailbox",
        "folder",
        "position",
        info={PARTIAL: "seen_at IS NULL AND deleted_at IS NULL"},
    ),
    Index(
        "ix_notice_starred",
        "mailbox",
        "position",
        info={PARTIAL: "starred_at IS NOT NULL"},
    ),
)
