"""Add the time of each vehicle's latest report."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("vehicles", schema=None) as batch_op:
        batch_op.add_column(sa.Column("attested_until_utc_ns", sa.BigInteger(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("last_seen_utc_ns", sa.BigInteger(), nullable=False, server_default="0"))
        batch_op.create_index(batch_op.f("ix_vehicles_last_seen_utc_ns"), ["last_seen_utc_ns"], unique=False)
    # The latest contact that is known: when they last asked their director, or last attested a model.
    later = "case when attested_at_utc_ns > signed_at_utc_ns then attested_at_utc_ns else signed_at_utc_ns end"
    op.execute(f"update vehicles set last_seen_utc_ns = {later}")
