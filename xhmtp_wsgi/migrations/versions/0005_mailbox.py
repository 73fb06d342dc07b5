"""Mailboxes that people work with: folders, flags, conversations, kept copies, search, drafts.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds them."""
    for column in (
        sa.Column("folder", sa.Text(), server_default="inbox", nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=True),
        sa.Column("starred_at", sa.Double(), nullable=True),
        sa.Column("deleted_at", sa.Double(), nullable=True),
        sa.Column("message_id", sa.Text(), nullable=True),
        sa.Column("thread", sa.Text(), nullable=True),
    ):
        op.add_column("notice", column)
    op.create_index("ix_notice_folder", "notice", ["mailbox", "folder", "position"])
    op.create_index("ix_notice_thread", "notice", ["mailbox", "thread"])
    op.create_index("ix_notice_message_id", "notice", ["mailbox", "message_id"])
    for name, columns, condition in (
        (
            "ix_notice_unseen",
            ["mailbox", "folder", "position"],
            "seen_at IS NULL AND deleted_at IS NULL",
        ),
        ("ix_notice_starred", ["mailbox", "position"], "starred_at IS NOT NULL"),
    ):
        op.create_index(
            name,
            "notice",
            columns,
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )
    op.add_column("message", sa.Column("thread", sa.Text(), nullable=True))
    op.create_index("ix_message_thread", "message", ["sender", "thread"])
    op.create_index("ix_message_sent", "message", ["sender", "created_at"])
    op.create_table(
        "kept_copy",
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("checks", sa.Text(), nullable=False),
        sa.Column("kept_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["notice"], ["notice.id"], op.f("fk_kept_copy_notice"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("notice", name=op.f("pk_kept_copy")),
    )
    op.create_table(
        "kept_piece",
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("octets", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["notice"], ["kept_copy.notice"], op.f("fk_kept_piece_notice"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("notice", "number", name=op.f("pk_kept_piece")),
    )
    op.create_table(
        "draft",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draft")),
    )
    op.create_index("ix_draft_owner", "draft", ["owner", "changed_at"])
    op.create_table(
        "draft_attachment",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("draft", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("octets", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["draft"], ["draft.id"], op.f("fk_draft_attachment_draft"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draft_attachment")),
    )
    op.create_index(op.f("ix_draft_attachment_draft"), "draft_attachment", ["draft"])
    op.create_table(
        "preference",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "name", name=op.f("pk_preference")),
    )
    op.create_table(
        "web_session",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], op.f("fk_web_session_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_web_session")),
    )
    op.create_index(op.f("ix_web_session_expires_at"), "web_session", ["expires_at"])
    _search()


def _search() -> None:
    op.create_table(
        "search_entry",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            nullable=False,
        ),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_entry")),
        sa.UniqueConstraint("owner", "kind", "item", name=op.f("uq_search_entry_owner_kind_item")),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE search_words USING fts5(owner, words, "
            "tokenize = 'unicode61 remove_diacritics 2', prefix = '3')"
        )
    else:
        op.execute("CREATE TABLE search_words (id BIGINT PRIMARY KEY, words TSVECTOR NOT NULL)")
        op.execute("CREATE INDEX ix_search_words ON search_words USING GIN (words)")
