"""What the desk reads: every function here may run in `Database.read`, and in a writing transaction too."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns
from fleetloop.kit.refusal import NotFoundError
from fleetloop.kit.storage.database import Transaction
from label_desk.codec import task_from
from label_desk.core import Agreement, Audits
from label_desk.model import Lease, ProjectProgress, Source, Task, Vote
from label_desk.store import AuditRow, EndedCountRow, LeaseRow, TaskRow, VehicleAgreementRow, VoteRow

AUDITS_KEPT = 200
"""Newest checked answers of a source that count, so that one that was corrected may decide again."""


def find_task(tx: Transaction, task_id: str) -> Task:
    """The task of this id. Raises NotFoundError."""
    return task_from(task_row(tx, task_id).created)


def task_row(tx: Transaction, task_id: str) -> TaskRow:
    """The row of the task of this id. Raises NotFoundError."""
    row = tx.session.get(TaskRow, task_id)
    if row is None:
        raise NotFoundError("the desk knows no such task", "task_id")
    return row


def tasks_for_hindsight(tx: Transaction, limit: int = 20) -> list[Task]:
    """Open tasks that hindsight has not voted on, the oldest first."""
    rows = tx.session.scalars(
        sa.select(TaskRow)
        .where(TaskRow.outcome == "", TaskRow.wants_hindsight)
        .order_by(TaskRow.created_at_utc_ns)
        .limit(limit)
    )
    return [task_from(row.created) for row in rows]


def is_due(now_utc_ns: int, undo_window_s: float | None = None) -> sa.ColumnElement[bool]:
    """The condition that a task's undo window is over.

    A time that is further ahead than the window is long was written while the clock was ahead, and is over as well.
    """
    over = TaskRow.settles_at_utc_ns <= now_utc_ns
    if undo_window_s is None:
        return over
    return sa.or_(over, TaskRow.settles_at_utc_ns > now_utc_ns + seconds_to_ns(undo_window_s))


def has_decided(tx: Transaction, now_utc_ns: int, undo_window_s: float | None = None) -> bool:
    """True when votes have decided a task and its undo window is over."""
    return bool(tx.session.scalar(sa.select(sa.exists().where(is_due(now_utc_ns, undo_window_s)))))


def progress(tx: Transaction, now_utc_ns: int) -> list[ProjectProgress]:
    """Counts of every project's tasks, by name."""
    projects: dict[str, ProjectProgress] = {}
    for ended in tx.session.scalars(sa.select(EndedCountRow)):
        found = projects.setdefault(ended.project, ProjectProgress(ended.project))
        found.ended[ended.outcome] = found.ended.get(ended.outcome, 0) + ended.tasks
        found.by_source[ended.decided_by] = found.by_source.get(ended.decided_by, 0) + ended.tasks
    waiting = (
        sa.select(TaskRow.project, sa.func.count(), sa.func.min(TaskRow.created_at_utc_ns))
        .where(TaskRow.outcome == "")
        .group_by(TaskRow.project)
    )
    for project, count, oldest_ns in tx.session.execute(waiting):
        found = projects.setdefault(project, ProjectProgress(project))
        found.open, found.oldest_open_s = count, max(0.0, ns_to_seconds(now_utc_ns - oldest_ns))
    leased = (
        sa.select(TaskRow.project, sa.func.count())
        .join(LeaseRow, LeaseRow.task_id == TaskRow.task_id)
        .where(LeaseRow.expires_at_utc_ns > now_utc_ns)
        .group_by(TaskRow.project)
    )
    for project, count in tx.session.execute(leased):
        projects[project].leased = count
    return [projects[name] for name in sorted(projects)]


def votes_of(tx: Transaction, task_id: str) -> list[Vote]:
    """All votes on a task."""
    return votes_by_task(tx, [task_id]).get(task_id, [])


def votes_by_task(tx: Transaction, task_ids: Sequence[str]) -> dict[str, list[Vote]]:
    """All votes on some tasks, in one query."""
    found: dict[str, list[Vote]] = {}
    for r in tx.session.scalars(sa.select(VoteRow).where(VoteRow.task_id.in_(task_ids))):
        vote = Vote(r.author, Source(r.source), json.loads(r.answers), r.confidence, r.at_utc_ns)
        found.setdefault(r.task_id, []).append(vote)
    return found


def leases_by_task(tx: Transaction, task_ids: Sequence[str]) -> dict[str, list[Lease]]:
    """All leases on some tasks, expired ones too, in one query."""
    found: dict[str, list[Lease]] = {}
    for r in tx.session.scalars(sa.select(LeaseRow).where(LeaseRow.task_id.in_(task_ids))):
        found.setdefault(r.task_id, []).append(Lease(r.lease_id, r.author, r.expires_at_utc_ns))
    return found


def open_leases(tx: Transaction, author: str, but: str, now_utc_ns: int) -> int:
    """How many open tasks, except `but`, an author has a live lease on."""
    live = (LeaseRow.author == author, LeaseRow.expires_at_utc_ns > now_utc_ns, LeaseRow.task_id != but)
    return tx.session.scalars(
        sa.select(sa.func.count())
        .select_from(LeaseRow)
        .join(TaskRow, TaskRow.task_id == LeaseRow.task_id)
        .where(*live, TaskRow.outcome == "")
    ).one()


def live_lease(tx: Transaction, lease_id: str, now_utc_ns: int) -> LeaseRow | None:
    """The newest lease of this id, unless it has expired."""
    newest = sa.select(LeaseRow).where(LeaseRow.lease_id == lease_id).order_by(LeaseRow.expires_at_utc_ns.desc())
    row = tx.session.scalars(newest.limit(1)).first()
    return row if row is not None and row.expires_at_utc_ns > now_utc_ns else None


def tasks_to_ask(
    tx: Transaction, project: str, author: str, now_utc_ns: int, limit: int, after: TaskRow | None = None
) -> Sequence[TaskRow]:
    """Open, undecided tasks for people that `author` has not answered and that are not fully leased to others.

    The most urgent and then the oldest come first. `after` is the last row of the page before.
    """
    order = sa.tuple_(TaskRow.rank, TaskRow.created_at_utc_ns, TaskRow.task_id)
    answered = sa.exists().where(VoteRow.task_id == TaskRow.task_id, VoteRow.author == author)
    held = (
        sa.select(sa.func.count())
        .where(LeaseRow.task_id == TaskRow.task_id, LeaseRow.expires_at_utc_ns > now_utc_ns)
        .scalar_subquery()
    )
    query = (
        sa.select(TaskRow)
        .where(TaskRow.outcome == "", TaskRow.settles_at_utc_ns.is_(None))
        .where(TaskRow.wants_people, ~TaskRow.wants_hindsight, ~answered, held < TaskRow.agreement)
        .order_by(TaskRow.rank, TaskRow.created_at_utc_ns, TaskRow.task_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(order > sa.tuple_(after.rank, after.created_at_utc_ns, after.task_id))
    if project:
        query = query.where(TaskRow.project == project)
    return tx.session.scalars(query).all()


def audits_of(tx: Transaction, source: Source) -> Audits:
    """What people found when they checked a source's newest answers, without those of vehicles that were refuted."""
    of_source = sa.select(AuditRow.agreed).where(AuditRow.source == source.value, AuditRow.of_source)
    return sum_of(tx, of_source.order_by(AuditRow.at_utc_ns.desc(), AuditRow.task_id).limit(AUDITS_KEPT))


def vehicle_audits_of(tx: Transaction, source: Source, vehicle_id: str) -> Audits:
    """What people found when they checked a source's newest answers about one vehicle."""
    row = tx.session.get(VehicleAgreementRow, (source.value, vehicle_id))
    return Audits() if row is None else Audits(row.agreed, row.checked)


def sum_of(tx: Transaction, checked: sa.Select[bool]) -> Audits:
    answers = tx.session.scalars(checked).all()
    return Audits(sum(answers), len(answers))


def agreements(tx: Transaction, vehicle_id: str = "") -> tuple[list[Agreement], list[Agreement]]:
    """What people found about each source, and about each vehicle of it, or one: the lowest upper ends first."""
    sources = [Source(name) for name in tx.session.scalars(sa.select(AuditRow.source).distinct())]
    query = sa.select(VehicleAgreementRow)
    if vehicle_id:
        query = query.where(VehicleAgreementRow.vehicle_id == vehicle_id)
    vehicles = [
        Agreement(Source(row.source), row.vehicle_id, Audits(row.agreed, row.checked))
        for row in tx.session.scalars(query)
    ]
    vehicles.sort(key=lambda each: (each.audits.interval()[1], -each.audits.checked, each.vehicle_id))
    return [Agreement(source, "", audits_of(tx, source)) for source in sorted(sources)], vehicles
