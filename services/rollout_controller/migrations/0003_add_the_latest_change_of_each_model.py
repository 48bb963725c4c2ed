"""Add the latest change of each model."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("models", sa.Column("latest_sequence", sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        "update models set latest_sequence = "
        "coalesce((select max(sequence) from changes where changes.digest = models.digest), 0)"
    )
    op.create_index("ix_models_latest_sequence", "models", ["latest_sequence"])
