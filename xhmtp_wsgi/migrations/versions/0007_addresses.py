"""Aliases; groups, their members, and what is still to be done for them.

Revision ID: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds them."""
    op.create_table(
        "alias",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("may_send", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_alias")),
    )
    op.create_table(
        "group_address",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("writers", sa.Text(), nullable=False),
        sa.Column("joining", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_group_address")),
    )
    op.create_table(
        "group_member",
        sa.Column("group_address", sa.Text(), nullable=False),
        sa.Column("member", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("is_owner", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("joined_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_address"],
            ["group_address.address"],
            op.f("fk_group_member_group_address"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("group_address", "member", name=op.f("pk_group_member")),
    )
    op.create_table(
        "group_work",
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", sa.Double(), nullable=False),
        sa.Column("last_answer", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["notice"], ["notice.id"], op.f("fk_group_work_notice"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("notice", name=op.f("pk_group_work")),
    )
