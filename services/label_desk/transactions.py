"""What the desk writes: each function runs in one transaction of `Database.run`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping

import sqlalchemy as sa

from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.process.metrics import LoopStage, observe_stage
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.kit.refusal import FailedPreconditionError, NotFoundError, ResourceExhaustedError
from fleetloop.kit.storage.database import Transaction
from label_desk.codec import labelled_event, task_from
from label_desk.core import Audits, decide, may_ask
from label_desk.metrics import AUDITS, ENDED_TASKS, VOTES
from label_desk.model import Assignment, Check, Decision, Lease, Outcome, Source, Task, Vote
from label_desk.queries import (
    AUDITS_KEPT,
    audits_of,
    is_due,
    leases_by_task,
    live_lease,
    open_leases,
    sum_of,
    task_row,
    tasks_to_ask,
    vehicle_audits_of,
    votes_by_task,
    votes_of,
)
from label_desk.store import AuditRow, EndedCountRow, LeaseRow, TaskRow, VehicleAgreementRow, VoteRow

SERVICE = "label-desk"
VEHICLE_AUDITS_KEPT = 50
"""Newest checked answers about a vehicle that count, so that one that was corrected gets automatic labels again."""
_PAGE_ROWS = 20
"""Tasks whose votes and leases are read at once while the next task to ask is looked for."""


def create_task(tx: Transaction, task: Task) -> bool:
    """Store a new task; False when it is known."""
    if tx.session.get(TaskRow, task.task_id) is not None:
        return False
    tx.session.add(
        TaskRow(
            task_id=task.task_id,
            project=task.project,
            task=task.task,
            rank=-task.priority,
            agreement=task.agreement,
            created_at_utc_ns=task.created_at_utc_ns,
            created=task.event,
            traceparent=current_traceparent(),
            wants_hindsight=Source.HINDSIGHT in task.sources,
            wants_people=Source.HUMAN in task.sources or Source.HINDSIGHT not in task.sources,
            audited=False,
            vehicle_refuted=False,
            outcome="",
            decided_by="",
            settles_at_utc_ns=None,
            ended_at_utc_ns=None,
        )
    )
    return True


def lease_next(
    tx: Transaction,
    author: str,
    project: str,
    lease_s: float,
    most_leases: int,
    now_utc_ns: int,
    request_id: str = "",
) -> Assignment | None:
    """Lease the most urgent task that `author` may still be asked about to them, or return None.

    A retry of a request whose answer was lost gets the lease that the request got, as long as that lease is live.
    Raises ResourceExhaustedError when the author has `most_leases` open tasks already.
    """
    lease_id = causal_id("lease", author, "request", request_id) if request_id else ""
    if request_id:
        known = live_lease(tx, lease_id, now_utc_ns)
        if known is not None:
            return _assignment(tx.session.get_one(TaskRow, known.task_id), known)
    after = None
    while rows := tasks_to_ask(tx, project, author, now_utc_ns, _PAGE_ROWS, after):
        ids = [row.task_id for row in rows]
        votes, leases = votes_by_task(tx, ids), leases_by_task(tx, ids)
        for row in rows:
            asked = votes.get(row.task_id, []), leases.get(row.task_id, [])
            if may_ask(author, *asked, row.agreement, now_utc_ns):
                return _assignment(row, _lease(tx, row.task_id, author, lease_s, most_leases, now_utc_ns, lease_id))
        after = rows[-1]
    return None


def _lease(
    tx: Transaction,
    task_id: str,
    author: str,
    lease_s: float,
    most_leases: int,
    now_utc_ns: int,
    lease_id: str = "",
) -> LeaseRow:
    if open_leases(tx, author, task_id, now_utc_ns) >= most_leases:
        raise ResourceExhaustedError(
            f"{author} has {most_leases} open tasks, the most that one labeller may have",
            remedy="answer or release one of them, or wait until a lease expires",
        )
    lease = LeaseRow(
        task_id=task_id,
        author=author,
        lease_id=lease_id or causal_id("lease", task_id, author, now_utc_ns),
        expires_at_utc_ns=now_utc_ns + seconds_to_ns(lease_s),
    )
    return tx.session.merge(lease)


def _assignment(row: TaskRow, lease: LeaseRow) -> Assignment:
    return Assignment(task_from(row.created), Lease(lease.lease_id, lease.author, lease.expires_at_utc_ns))


def submit(
    tx: Transaction,
    task_id: str,
    lease_id: str,
    answers: Mapping[str, str],
    author: str,
    now_utc_ns: int,
    automatic_bound: float,
    undo_window_s: float,
) -> Decision | None:
    """Store one person's answer; return the decision that it brings, if it brings one.

    Raises NotFoundError for an unknown task, FailedPreconditionError when it has ended or the lease is not valid.
    """
    row = task_row(tx, task_id)
    if row.outcome:
        raise FailedPreconditionError(f"the task has ended: {row.outcome}", "task_id")
    lease = tx.session.get(LeaseRow, (task_id, author))
    if lease is None or lease.lease_id != lease_id or lease.expires_at_utc_ns <= now_utc_ns:
        raise FailedPreconditionError("the lease is not yours or has expired", "lease_id", "lease the task again")
    tx.session.delete(lease)
    _store_vote(tx, row, Vote(author, Source.HUMAN, answers, 1.0, now_utc_ns))
    return _decide(tx, row, now_utc_ns, automatic_bound, undo_window_s)


def submit_automatic(
    tx: Transaction,
    task_id: str,
    vote: Vote | None,
    now_utc_ns: int,
    automatic_bound: float,
    check: Callable[[Vote, Audits, Audits], Check] = lambda vote, of_source, of_vehicle: Check.NONE,
) -> Decision | None:
    """Store an automatic source's vote; None when it has none. People are asked unless the vote decides.

    `check` says whether people check the vote, by what they found of its source and of its vehicle before.
    """
    row = task_row(tx, task_id)
    if row.outcome or not row.wants_hindsight:
        return None
    row.wants_hindsight = False
    if vote is not None:
        _store_vote(tx, row, vote)
        vehicle = task_from(row.created).vehicle_id
        checked = check(vote, audits_of(tx, vote.source), vehicle_audits_of(tx, vote.source, vehicle))
        if checked is not Check.NONE:
            row.audited = row.wants_people = True
            row.vehicle_refuted = checked is Check.OF_VEHICLE
    decision = _decide(tx, row, now_utc_ns, automatic_bound, undo_window_s=0)
    if decision is None and not row.wants_people:
        decision = Decision(Outcome.CANNOT_TELL, {}, Source.HINDSIGHT, 0.0)
        _end(tx, row, decision, now_utc_ns)
    return decision


def _store_vote(tx: Transaction, row: TaskRow, vote: Vote) -> None:
    """An earlier vote of the same author is replaced."""
    tx.session.merge(
        VoteRow(
            task_id=row.task_id,
            author=vote.author,
            source=vote.source.value,
            answers=json.dumps(dict(vote.answers), sort_keys=True),
            confidence=vote.confidence,
            at_utc_ns=vote.at_utc_ns,
        )
    )
    VOTES.labels(row.project, vote.source).inc()


def _decide(
    tx: Transaction, row: TaskRow, now_utc_ns: int, automatic_bound: float, undo_window_s: float
) -> Decision | None:
    """End the task if its votes decide it: at once, or after the undo window."""
    tx.session.flush()
    decision = decide(votes_of(tx, row.task_id), row.agreement, math.inf if row.audited else automatic_bound)
    if decision is None:
        row.settles_at_utc_ns = None
    elif undo_window_s == 0:
        _end(tx, row, decision, now_utc_ns)
    else:
        row.settles_at_utc_ns = now_utc_ns + seconds_to_ns(undo_window_s)
    return decision


def end_decided(
    tx: Transaction,
    now_utc_ns: int,
    automatic_bound: float,
    limit: int = 200,
    undo_window_s: float | None = None,
) -> int:
    """End at most `limit` decided tasks whose undo window is over; return how many were due."""
    due = tx.session.scalars(
        sa.select(TaskRow).where(TaskRow.outcome == "", is_due(now_utc_ns, undo_window_s)).limit(limit)
    ).all()
    for row in due:
        decision = decide(votes_of(tx, row.task_id), row.agreement, math.inf if row.audited else automatic_bound)
        if decision is None:
            row.settles_at_utc_ns = None
        else:
            _end(tx, row, decision, now_utc_ns)
    return len(due)


def _end(tx: Transaction, row: TaskRow, decision: Decision, now_utc_ns: int) -> None:
    row.outcome = decision.outcome.value
    row.decided_by = decision.source.value
    row.settles_at_utc_ns, row.ended_at_utc_ns = None, now_utc_ns
    _count_ended(tx, row)
    if row.audited and decision.source is Source.HUMAN and decision.outcome is Outcome.AGREED:
        _count_audit(tx, row, decision, now_utc_ns)
    tx.session.execute(sa.delete(LeaseRow).where(LeaseRow.task_id == row.task_id))
    with span("label-desk task ended", parent=row.traceparent, attributes={"outcome": row.outcome}):
        tx.publish(labelled_event(task_from(row.created), decision, votes_of(tx, row.task_id), now_utc_ns))
    ENDED_TASKS.labels(row.project, row.outcome, row.decided_by).inc()
    if decision.outcome is Outcome.AGREED:  # only these go on to a dataset
        observe_stage(SERVICE, LoopStage.LABEL, row.created_at_utc_ns, now_utc_ns)


def _count_audit(tx: Transaction, row: TaskRow, decision: Decision, now_utc_ns: int) -> None:
    """Note whether people agreed with the automatic answers to a task, and forget the oldest such notes.

    The newest of each vehicle are kept. Those that no longer count for the source stay if they count for a vehicle.
    """
    vehicle = task_from(row.created).vehicle_id
    for vote in votes_of(tx, row.task_id):
        if vote.source is Source.HUMAN or not vote.answers:
            continue
        agreed = dict(vote.answers) == dict(decision.answers)
        tx.session.merge(
            AuditRow(
                task_id=row.task_id,
                source=vote.source.value,
                agreed=agreed,
                at_utc_ns=now_utc_ns,
                vehicle_id=vehicle,
                of_source=not row.vehicle_refuted,
            )
        )
        AUDITS.labels(row.project, vote.source.value, "agreed" if agreed else "differed").inc()
        tx.session.flush()
        of_vehicle = (AuditRow.source == vote.source.value, AuditRow.vehicle_id == vehicle)
        newest = sa.select(AuditRow.task_id).where(*of_vehicle).order_by(AuditRow.at_utc_ns.desc(), AuditRow.task_id)
        kept = newest.limit(VEHICLE_AUDITS_KEPT if vehicle else AUDITS_KEPT)
        tx.session.execute(sa.delete(AuditRow).where(*of_vehicle, AuditRow.task_id.not_in(kept)))
        if vehicle:
            found = sum_of(tx, sa.select(AuditRow.agreed).where(*of_vehicle))
            tx.session.merge(
                VehicleAgreementRow(
                    source=vote.source.value, vehicle_id=vehicle, agreed=found.agreed, checked=found.checked
                )
            )


def _count_ended(tx: Transaction, row: TaskRow) -> None:
    key = (row.project, row.outcome, row.decided_by)
    counted = tx.session.get(EndedCountRow, key)
    if counted is None:
        tx.session.add(EndedCountRow(project=key[0], outcome=key[1], decided_by=key[2], tasks=1))
        tx.session.flush()
    else:
        counted.tasks += 1


def prune_ended(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float) -> int:
    """Delete at most `limit` tasks that ended more than `keep_s` seconds ago, with their votes; return how many.

    The answers are in fleet.label.v1 and in the dataset, and the number of ended tasks is counted elsewhere.
    """
    old = TaskRow.ended_at_utc_ns < now_utc_ns - seconds_to_ns(keep_s)
    ids = tx.session.scalars(sa.select(TaskRow.task_id).where(old).limit(limit)).all()
    for table in (VoteRow, LeaseRow, TaskRow):  # votes and leases refer to tasks
        if ids:
            tx.session.execute(sa.delete(table).where(table.task_id.in_(ids)))
    return len(ids)


def undo(
    tx: Transaction,
    task_id: str,
    author: str,
    lease_s: float,
    most_leases: int,
    now_utc_ns: int,
    automatic_bound: float,
) -> Assignment:
    """Delete the author's answer and lease the task to the same author again.

    A task that the other votes still decide ends when it would have ended: the author may not come back.

    Raises FailedPreconditionError when the task has ended, NotFoundError when the author gave no answer, and
    ResourceExhaustedError when the author has `most_leases` other open tasks.
    """
    row = task_row(tx, task_id)
    if row.outcome:
        raise FailedPreconditionError("too late, the task has ended", "task_id")
    vote = tx.session.get(VoteRow, (task_id, author))
    if vote is None:
        raise NotFoundError("you gave no answer to this task", "task_id")
    tx.session.delete(vote)
    tx.session.flush()
    decision = decide(votes_of(tx, task_id), row.agreement, math.inf if row.audited else automatic_bound)
    row.settles_at_utc_ns = None if decision is None else row.settles_at_utc_ns or now_utc_ns
    return _assignment(row, _lease(tx, task_id, author, lease_s, most_leases, now_utc_ns))


def release(tx: Transaction, task_id: str, author: str, lease_id: str) -> None:
    """Give a lease back. Without effect when the author no longer has it."""
    lease = tx.session.get(LeaseRow, (task_id, author))
    if lease is not None and lease.lease_id == lease_id:
        tx.session.delete(lease)
