"""Sealed messages: published and held keys, keys of others, and a message in several forms.

Revision ID: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds them; what is stored stays as it is, in the clear, and in one form."""
    _keys()
    _messages()


def _keys() -> None:
    op.create_table(
        "sealing_key",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("added_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("address", "recipient", name=op.f("pk_sealing_key")),
    )
    op.create_table(
        "openpgp_key",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("octets", sa.LargeBinary(), nullable=False),
        sa.Column("added_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_openpgp_key")),
    )
    op.create_table(
        "held_key",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("added_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "recipient", name=op.f("pk_held_key")),
    )
    op.create_table(
        "fetched_keys",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("recipients", sa.Text(), nullable=False),
        sa.Column("fetched_at", sa.Double(), nullable=False),
        sa.Column("good_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_fetched_keys")),
    )
    op.create_table(
        "known_sealing_key",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("recipients", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "address", name=op.f("pk_known_sealing_key")),
    )


def _messages() -> None:
    op.create_table(
        "message_representation",
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first_piece", sa.Integer(), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["message"],
            ["message.id"],
            op.f("fk_message_representation_message"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message", "number", name=op.f("pk_message_representation")),
    )
    op.add_column("message", sa.Column("sealed", sa.Text(), nullable=True))
    op.add_column("message", sa.Column("kept_octets", sa.BigInteger(), nullable=True))
    op.add_column(
        "delivery",
        sa.Column("representation", sa.Integer(), server_default="0", nullable=False),
    )
    op.create_table(
        "sealed_extract",
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("octets", sa.LargeBinary(), nullable=False),
        sa.Column("written_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["notice"], ["notice.id"], op.f("fk_sealed_extract_notice"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("notice", name=op.f("pk_sealed_extract")),
    )
    op.add_column("web_session", sa.Column("unlocked", sa.LargeBinary(), nullable=True))
