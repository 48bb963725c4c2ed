"""add the versions that wait for a model."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "waiting_versions",
        sa.Column("dataset", sa.String(length=128), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("committed_at_utc_ns", sa.BigInteger(), nullable=False),
        sa.Column("trained_at_utc_ns", sa.BigInteger(), nullable=False),
        sa.Column("detected_at_utc_ns", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "number"),
    )
