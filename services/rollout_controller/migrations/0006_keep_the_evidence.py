"""keep the evidence of rollouts, vehicle by vehicle."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    with op.batch_alter_table("rollouts") as table:
        table.add_column(sa.Column("running_s", sa.Float(), nullable=False, server_default="0"))
        table.add_column(sa.Column("reports", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("tries", sa.Integer(), nullable=False, server_default="1"))
        table.add_column(sa.Column("barred", sa.Text(), nullable=False, server_default="[]"))
    with op.batch_alter_table("vehicles") as table:
        table.add_column(sa.Column("assigned_at_utc_ns", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("revoked", sa.Boolean(), nullable=False, server_default=sa.false()))
        table.add_column(sa.Column("drove_at_utc_ns", sa.BigInteger(), nullable=False, server_default="0"))
    amounts = ("reported_s", "km", "against", "in_favour", "unguarded")
    counts = ("interventions", "decisions", "prevented", "avoided", "missed", "false_stops", "faults")
    op.create_table(
        "evidence",
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("vehicle_id", sa.String(length=128), nullable=False),
        sa.Column("cohort", sa.String(length=16), nullable=False),
        sa.Column("assigned_at_utc_ns", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=False) for name in amounts),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
        sa.Column("slow", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "vehicle_id", "cohort"),
    )
    op.create_table(
        "cohorts",
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("cohort", sa.String(length=16), nullable=False),
        sa.Column("vehicles", sa.Integer(), nullable=False),
        sa.Column("km", sa.Float(), nullable=False),
        sa.Column("interventions", sa.BigInteger(), nullable=False),
        sa.Column("decisions", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "cohort"),
    )
    op.create_table(
        "stretches",
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("conditions", sa.String(length=64), nullable=False),
        sa.Column("vehicle_id", sa.String(length=128), nullable=False),
        sa.Column("cohort", sa.String(length=16), nullable=False),
        sa.Column("km", sa.Float(), nullable=False),
        sa.Column("interventions", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "conditions", "vehicle_id", "cohort"),
    )
    op.create_table(
        "refused_reports",
        sa.Column("rollout_id", sa.String(length=64), nullable=False),
        sa.Column("refusal", sa.String(length=32), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rollout_id", "refusal"),
    )
    op.create_table(
        "driven",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("began_at_utc_ns", sa.BigInteger(), nullable=False),
        sa.Column("km", sa.Float(), nullable=False),
        sa.Column("interventions", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "day"),
    )
