"""Delivery in depth: destinations that fail, reports, what is set aside, counters.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds them."""
    op.add_column("message", sa.Column("emptied_at", sa.Double(), nullable=True))
    op.add_column(
        "message", sa.Column("is_report", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    # Those withdrawn have let go of their octets already.
    op.execute("UPDATE message SET emptied_at = withdrawn_at WHERE withdrawn_at IS NOT NULL")
    for column in (
        sa.Column("moved_to", sa.Text(), nullable=True),
        sa.Column("unverified_since", sa.Double(), nullable=True),
        sa.Column("internal_failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.Column("delay_told_at", sa.Double(), nullable=True),
        sa.Column("report_due", sa.Text(), nullable=True),
    ):
        op.add_column("delivery", column)
    op.create_index(
        "ix_delivery_report_due",
        "delivery",
        ["message"],
        unique=False,
        sqlite_where=sa.text("report_due IS NOT NULL"),
        postgresql_where=sa.text("report_due IS NOT NULL"),
    )
    op.create_table(
        "destination",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", sa.Double(), nullable=False),
        sa.Column("next_try_at", sa.Double(), nullable=False),
        sa.Column("last_answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_destination")),
    )
    op.create_table(
        "counter",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counter")),
    )
