"""let people check a share of the automatic answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Without a batch: votes refer to tasks, so that SQLite could not drop the old table.
    op.add_column("tasks", sa.Column("audited", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "audits",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("agreed", sa.Boolean(), nullable=False),
        sa.Column("at_utc_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task_id"),
    )
    op.create_index("audits_by_source", "audits", ["source", "at_utc_ns"])
