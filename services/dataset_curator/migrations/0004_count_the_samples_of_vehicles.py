"""Count the samples of vehicles, and hold those above a vehicle's share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("waiting") as batch_op:
        batch_op.add_column(sa.Column("vehicle_id", sa.String(length=128), server_default="", nullable=False))
        batch_op.add_column(sa.Column("held", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index("waiting_by_vehicle", "waiting", ["dataset", "held", "vehicle_id", "since_utc_ns"])
    with op.batch_alter_table("intents") as batch_op:
        batch_op.add_column(sa.Column("by_vehicle", sa.Text(), server_default="{}", nullable=False))
    op.create_table(
        "vehicle_counts",
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("vehicle_id", sa.String(length=128), nullable=False),
        sa.Column("samples", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "vehicle_id"),
    )


def downgrade() -> None:
    op.drop_table("vehicle_counts")
    with op.batch_alter_table("intents") as batch_op:
        batch_op.drop_column("by_vehicle")
    op.drop_index("waiting_by_vehicle", "waiting")
    with op.batch_alter_table("waiting") as batch_op:
        batch_op.drop_column("held")
        batch_op.drop_column("vehicle_id")
