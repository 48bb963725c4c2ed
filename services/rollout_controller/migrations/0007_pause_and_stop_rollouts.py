"""add who paused a rollout, and who stopped all of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "stops",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("stopped_by", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at_utc_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    with op.batch_alter_table("rollouts") as table:
        table.add_column(sa.Column("paused_by", sa.String(length=128), nullable=False, server_default=""))
        table.add_column(sa.Column("pause_reason", sa.Text(), nullable=False, server_default=""))
