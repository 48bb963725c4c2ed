"""Add early counts, resumptions and reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "early",
        sa.Column("firing_id", sa.String(length=64), nullable=False),
        sa.Column("count", sa.String(length=32), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("at_utc_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("firing_id", "count"),
    )
    with op.batch_alter_table("early", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_early_at_utc_ns"), ["at_utc_ns"], unique=False)
    op.create_table(
        "resumptions",
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("trigger", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("labelled", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("campaign", "trigger", "version"),
    )
    op.create_table(
        "reports",
        sa.Column("reporter", sa.String(length=128), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("at_utc_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("reporter"),
    )
    with op.batch_alter_table("reports", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reports_at_utc_ns"), ["at_utc_ns"], unique=False)


def downgrade() -> None:
    op.drop_table("reports")
    op.drop_table("resumptions")
    op.drop_table("early")
