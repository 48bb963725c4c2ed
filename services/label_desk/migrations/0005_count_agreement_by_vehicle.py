"""Count agreement by vehicle."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    # Without a batch: votes refer to tasks, so that SQLite could not drop the old table.
    op.add_column("tasks", sa.Column("vehicle_refuted", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("audits", sa.Column("vehicle_id", sa.String(length=128), nullable=False, server_default=""))
    op.add_column("audits", sa.Column("of_source", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.drop_index("audits_by_source", "audits")
    op.create_index("audits_by_source", "audits", ["source", "of_source", "at_utc_ns"])
    op.create_index("audits_by_vehicle", "audits", ["source", "vehicle_id", "at_utc_ns"])
    op.create_table(
        "vehicle_agreements",
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("vehicle_id", sa.String(length=128), nullable=False),
        sa.Column("agreed", sa.Integer(), nullable=False),
        sa.Column("checked", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source", "vehicle_id"),
    )
