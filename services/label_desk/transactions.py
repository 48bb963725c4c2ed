"""What the desk does in one transaction each: everything of it happens, or nothing does."""

from __future__ import annotations

import sqlalchemy as sa

from fleetloop.kit.ids import causal_id
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.process.metrics import STAGE_SECONDS
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.kit.refusal import FailedPreconditionError, NotFoundError
from fleetloop.kit.storage.database import Transaction
from fleetloop.protos.label.v1 import label_pb2
from label_desk.codec import labelled_event
from label_desk.core import decide, may_ask
from label_desk.metrics import ENDED_TASKS, VOTES
from label_desk.model import Decision, Outcome, Source, Vote
from label_desk.store import (
    EndedCountRow,
    LeaseRow,
    TaskRow,
    VoteRow,
    leases_by_task,
    open_tasks,
    put_vote,
    votes_by_task,
    votes_of,
)

SERVICE = "label-desk"
_SCAN = 20
_AUTOMATIC = {label_pb2.LABEL_SOURCE_HINDSIGHT}


def create_task(tx: Transaction, created: label_pb2.LabelTaskCreated) -> bool:
    """Keeps a new task; False when it was there already."""
    if tx.session.get(TaskRow, created.task_id) is not None:
        return False
    tx.session.add(
        TaskRow(
            task_id=created.task_id,
            project=created.project,
            task=created.task,
            rank=-created.priority,
            agreement=max(1, created.agreement),
            created_at_utc_ns=created.created_at_utc_ns,
            created=created.SerializeToString(),
            traceparent=current_traceparent(),
            wants_hindsight=any(source in _AUTOMATIC for source in created.sources),
            wants_people=label_pb2.LABEL_SOURCE_HUMAN in created.sources,
            outcome="",
            decided_by="",
            settles_at_utc_ns=None,
            ended_at_utc_ns=None,
        )
    )
    return True


def created_of(row: TaskRow) -> label_pb2.LabelTaskCreated:
    """The event that made the task."""
    return label_pb2.LabelTaskCreated.FromString(row.created)


def lease_next(
    tx: Transaction, author: str, project: str, lease_s: float, now_utc_ns: int, request_id: str = ""
) -> tuple[TaskRow, LeaseRow] | None:
    """Leases the most urgent task that `author` may still be asked about, or None.

    A request that comes again, because its answer was lost, gets the lease that it made, for as long as that lasts.
    """
    lease_id = causal_id("lease", author, "request", request_id) if request_id else ""
    if request_id:
        newest = sa.select(LeaseRow).where(LeaseRow.lease_id == lease_id).order_by(LeaseRow.expires_at_utc_ns.desc())
        known = tx.session.scalars(newest.limit(1)).first()
        if known is not None and known.expires_at_utc_ns > now_utc_ns:
            return tx.session.get_one(TaskRow, known.task_id), known
    after = None
    while rows := open_tasks(tx.session, project, author, now_utc_ns, _SCAN, after):
        ids = [row.task_id for row in rows]
        votes, leases = votes_by_task(tx.session, ids), leases_by_task(tx.session, ids)
        for row in rows:
            asked = votes.get(row.task_id, []), leases.get(row.task_id, [])
            if may_ask(author, *asked, row.agreement, now_utc_ns):
                return row, _lease(tx, row.task_id, author, lease_s, now_utc_ns, lease_id)
        after = rows[-1]
    return None


def _lease(
    tx: Transaction, task_id: str, author: str, lease_s: float, now_utc_ns: int, lease_id: str = ""
) -> LeaseRow:
    lease = LeaseRow(
        task_id=task_id,
        author=author,
        lease_id=lease_id or causal_id("lease", task_id, author, now_utc_ns),
        expires_at_utc_ns=now_utc_ns + seconds_to_ns(lease_s),
    )
    return tx.session.merge(lease)


def submit(
    tx: Transaction,
    request: label_pb2.SubmitLabelRequest,
    author: str,
    now_utc_ns: int,
    automatic_bound: float,
    undo_window_s: float,
) -> Decision | None:
    """Takes one person's answer; the decision that it brings, if it does.

    Raises a Refusal: NOT_FOUND for an unknown task, FAILED_PRECONDITION when it has ended or the lease has expired.
    """
    row = find_task(tx, request.task_id)
    if row.outcome:
        raise FailedPreconditionError(f"the task has ended: {row.outcome}", "task_id")
    lease = tx.session.get(LeaseRow, (request.task_id, author))
    if lease is None or lease.lease_id != request.lease_id or lease.expires_at_utc_ns <= now_utc_ns:
        raise FailedPreconditionError("the lease is not yours or has expired; lease the task again", "lease_id")
    tx.session.delete(lease)
    put_vote(tx.session, row.task_id, Vote(author, Source.HUMAN, dict(request.answers), 1.0, now_utc_ns))
    VOTES.labels(row.project, Source.HUMAN).inc()
    return _weigh(tx, row, now_utc_ns, automatic_bound, undo_window_s)


def take_automatic(
    tx: Transaction, task_id: str, vote: Vote | None, now_utc_ns: int, automatic_bound: float
) -> Decision | None:
    """Takes an automatic source's answer (None: it could not look); people are asked when it does not decide."""
    row = find_task(tx, task_id)
    if row.outcome or not row.wants_hindsight:
        return None
    row.wants_hindsight = False
    if vote is not None:
        put_vote(tx.session, task_id, vote)
        VOTES.labels(row.project, vote.source).inc()
    tx.session.flush()
    decision = _weigh(tx, row, now_utc_ns, automatic_bound, undo_window_s=0)
    if decision is None and not row.wants_people:
        decision = Decision(Outcome.CANNOT_TELL, {}, Source.HINDSIGHT, 0.0)
        _end(tx, row, decision, now_utc_ns)
    return decision


def _weigh(
    tx: Transaction, row: TaskRow, now_utc_ns: int, automatic_bound: float, undo_window_s: float
) -> Decision | None:
    tx.session.flush()
    decision = decide(votes_of(tx.session, row.task_id), row.agreement, automatic_bound)
    if decision is None:
        row.settles_at_utc_ns = None
    elif undo_window_s == 0:
        _end(tx, row, decision, now_utc_ns)
    else:
        row.settles_at_utc_ns = now_utc_ns + seconds_to_ns(undo_window_s)
    return decision


def has_to_settle(tx: Transaction, now_utc_ns: int) -> bool:
    """True when an undo window is over."""
    due = sa.exists().where(TaskRow.settles_at_utc_ns <= now_utc_ns)
    return bool(tx.session.scalar(sa.select(due)))


def settle(tx: Transaction, now_utc_ns: int, automatic_bound: float, limit: int = 200) -> int:
    """Ends tasks whose undo window is over; returns how many."""
    due = tx.session.scalars(
        sa.select(TaskRow).where(TaskRow.outcome == "", TaskRow.settles_at_utc_ns <= now_utc_ns).limit(limit)
    ).all()
    for row in due:
        decision = decide(votes_of(tx.session, row.task_id), row.agreement, automatic_bound)
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
    tx.session.execute(sa.delete(LeaseRow).where(LeaseRow.task_id == row.task_id))
    with span("label-desk task ended", parent=row.traceparent, attributes={"outcome": row.outcome}):
        tx.publish(labelled_event(created_of(row), decision, votes_of(tx.session, row.task_id), now_utc_ns))
    ENDED_TASKS.labels(row.project, row.outcome, row.decided_by).inc()
    STAGE_SECONDS.labels(SERVICE, "label").observe(max(0, now_utc_ns - row.created_at_utc_ns) / 1e9)


def _count_ended(tx: Transaction, row: TaskRow) -> None:
    key = (row.project, row.outcome, row.decided_by)
    counted = tx.session.get(EndedCountRow, key)
    if counted is None:
        tx.session.add(EndedCountRow(project=key[0], outcome=key[1], decided_by=key[2], tasks=1))
        tx.session.flush()
    else:
        counted.tasks += 1


def forget_ended(tx: Transaction, now_utc_ns: int, limit: int, keep_s: float) -> int:
    """Lets go of at most `limit` tasks that ended longer than `keep_s` ago, with their votes; returns how many.

    What was answered is in fleet.label.v1 and in the dataset, and how many ended is counted.
    """
    old = TaskRow.ended_at_utc_ns < now_utc_ns - seconds_to_ns(keep_s)
    ids = tx.session.scalars(sa.select(TaskRow.task_id).where(old).limit(limit)).all()
    for table in (VoteRow, LeaseRow, TaskRow):
        if ids:
            tx.session.execute(sa.delete(table).where(table.task_id.in_(ids)))
    return len(ids)


def undo(tx: Transaction, task_id: str, author: str, lease_s: float, now_utc_ns: int) -> tuple[TaskRow, LeaseRow]:
    """Takes the author's answer back and leases the task to the same author again.

    Raises a Refusal: FAILED_PRECONDITION when it has ended, NOT_FOUND when the author gave no answer.
    """
    row = find_task(tx, task_id)
    if row.outcome:
        raise FailedPreconditionError("too late, the task has ended", "task_id")
    vote = tx.session.get(VoteRow, (task_id, author))
    if vote is None:
        raise NotFoundError("you gave no answer to this task", "task_id")
    tx.session.delete(vote)
    row.settles_at_utc_ns = None
    return row, _lease(tx, task_id, author, lease_s, now_utc_ns)


def release(tx: Transaction, task_id: str, author: str, lease_id: str) -> None:
    """Gives a task back. Without effect when the lease is gone already."""
    lease = tx.session.get(LeaseRow, (task_id, author))
    if lease is not None and lease.lease_id == lease_id:
        tx.session.delete(lease)


def find_task(tx: Transaction, task_id: str) -> TaskRow:
    """The task. Raises a Refusal NOT_FOUND."""
    row = tx.session.get(TaskRow, task_id)
    if row is None:
        raise NotFoundError("the desk knows no such task", "task_id")
    return row


def waiting_for_hindsight(tx: Transaction, limit: int = 20) -> list[label_pb2.LabelTaskCreated]:
    """Tasks that hindsight has not looked at."""
    rows = tx.session.scalars(
        sa.select(TaskRow)
        .where(TaskRow.outcome == "", TaskRow.wants_hindsight)
        .order_by(TaskRow.created_at_utc_ns)
        .limit(limit)
    )
    return [created_of(row) for row in rows]
