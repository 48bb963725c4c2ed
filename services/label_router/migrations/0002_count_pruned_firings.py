"""Count pruned firings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "forgotten_counts",
        sa.Column("trigger", sa.String(length=128), nullable=False),
        sa.Column("progress", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("firings", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("trigger", "progress", "reason"),
    )
    op.create_index("ix_early_clips_at_utc_ns", "early_clips", ["at_utc_ns"])
