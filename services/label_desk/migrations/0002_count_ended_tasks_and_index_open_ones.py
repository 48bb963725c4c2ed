"""Count ended tasks and index open ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "ended_counts",
        sa.Column("project", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("decided_by", sa.String(length=16), nullable=False),
        sa.Column("tasks", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "outcome", "decided_by"),
    )
    op.execute(
        "insert into ended_counts (project, outcome, decided_by, tasks) "
        "select project, outcome, decided_by, count(*) from tasks where outcome <> '' "
        "group by project, outcome, decided_by"
    )
    # Not batch_alter_table: on SQLite it creates the table again, which violates the foreign key of votes.
    op.add_column("tasks", sa.Column("rank", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("ended_at_utc_ns", sa.BigInteger(), nullable=True))
    op.execute("update tasks set rank = -priority")
    op.execute("update tasks set ended_at_utc_ns = created_at_utc_ns where outcome <> ''")
    op.drop_index("open_tasks", table_name="tasks")
    op.execute("alter table tasks drop column priority")
    op.create_index("tasks_to_ask", "tasks", ["outcome", "rank", "created_at_utc_ns", "task_id"])
    op.create_index("tasks_by_project", "tasks", ["outcome", "project", "created_at_utc_ns"])
    op.create_index("tasks_for_hindsight", "tasks", ["outcome", "wants_hindsight", "created_at_utc_ns"])
    op.create_index("ix_tasks_settles_at_utc_ns", "tasks", ["settles_at_utc_ns"])
    op.create_index("ix_tasks_ended_at_utc_ns", "tasks", ["ended_at_utc_ns"])
    op.create_index("ix_leases_lease_id", "leases", ["lease_id"])
