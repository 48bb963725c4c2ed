"""Keep which origins are retracted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "retractions",
        sa.Column("rule_id", sa.String(length=64), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("vehicle_id", sa.String(length=128), nullable=False),
        sa.Column("clip_id", sa.String(length=64), nullable=False),
        sa.Column("trigger", sa.String(length=128), nullable=False),
        sa.Column("trigger_version", sa.Integer(), nullable=False),
        sa.Column("label_source", sa.String(length=16), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("first_version", sa.String(length=16), nullable=False),
        sa.Column("retracted_by", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("retracted_at_utc_ns", sa.BigInteger(), nullable=False),
        sa.Column("readmitted_at_utc_ns", sa.BigInteger(), nullable=False),
        sa.Column("readmitted_by", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("rule_id"),
    )
    op.create_index("ix_retractions_dataset", "retractions", ["dataset"])


def downgrade() -> None:
    op.drop_table("retractions")
