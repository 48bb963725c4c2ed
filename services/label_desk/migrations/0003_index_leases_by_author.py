"""Index leases by author."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index("leases_by_author", "leases", ["author", "expires_at_utc_ns"])


def downgrade() -> None:
    op.drop_index("leases_by_author", table_name="leases")
