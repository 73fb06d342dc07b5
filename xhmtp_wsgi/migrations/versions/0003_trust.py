"""Trust: signing keys, filters, quarantine, limits, anonymous messages, what is known of others.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds them."""
    op.create_table(
        "signing_key",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("selector", sa.Text(), nullable=False),
        sa.Column("public", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("published_at", sa.Double(), nullable=True),
        sa.Column("retired_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("domain", "selector", name=op.f("pk_signing_key")),
    )
    op.create_table(
        "filter_rule",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("position", sa.Double(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("header", sa.Text(), nullable=True),
        sa.Column("pattern", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_filter_rule")),
    )
    op.create_index(op.f("ix_filter_rule_owner"), "filter_rule", ["owner"], unique=False)
    op.add_column(
        "mailbox",
        sa.Column("last_quarantined", sa.BigInteger(), server_default="0", nullable=False),
    )
    op.create_table(
        "bucket",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("filled_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_bucket")),
    )
    op.create_index(op.f("ix_bucket_filled_at"), "bucket", ["filled_at"], unique=False)
    op.create_table(
        "sender_usage",
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("octets", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sender", name=op.f("pk_sender_usage")),
    )
    op.execute(
        "INSERT INTO sender_usage (sender, octets) SELECT sender, sum(size) FROM message "
        "WHERE emptied_at IS NULL GROUP BY sender"
    )
    op.add_column("message", sa.Column("alias", sa.Text(), nullable=True))
    op.create_table(
        "tls_domain",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_tls_domain")),
    )
    op.create_table(
        "vouched_target",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("is_vouched", sa.Boolean(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("domain", "target", name=op.f("pk_vouched_target")),
    )
    op.add_column("delivery", sa.Column("unvouched", sa.Text(), nullable=True))
    op.create_table(
        "author_key",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("added_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("address", "line", name=op.f("pk_author_key")),
    )
    op.create_table(
        "known_author",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "author", name=op.f("pk_known_author")),
    )
