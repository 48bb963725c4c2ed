"""Keep proposed changes of test sets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "proposals",
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("proposed_by", sa.String(length=128), nullable=False),
        sa.Column("proposed_at_utc_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dataset", "digest"),
    )
    op.create_index("ix_proposals_proposed_at_utc_ns", "proposals", ["proposed_at_utc_ns"])


def downgrade() -> None:
    op.drop_table("proposals")
