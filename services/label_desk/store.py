"""The desk's tables. A task row keeps the event that made it, so nothing of it is lost in translation."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from fleetloop.kit.storage.database import InboxMixin, OutboxMixin, RequestMixin
from label_desk.model import Lease, Source, Vote


class Base(DeclarativeBase):
    """This service's schema."""


class InboxRow(InboxMixin, Base):
    """Events that took effect."""


class OutboxRow(OutboxMixin, Base):
    """Events to publish."""


class RequestRow(RequestMixin, Base):
    """Answers to mutating requests."""


class TaskRow(Base):
    """A question. `outcome` is empty while it is open; `settles_at_utc_ns` is when a decision becomes final."""

    __tablename__ = "tasks"
    task_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    project: Mapped[str] = mapped_column(sa.String(64))
    task: Mapped[str] = mapped_column(sa.String(64))
    rank: Mapped[int]
    """The priority with its sign turned: who is asked, is asked for the smallest first."""
    agreement: Mapped[int]
    created_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    created: Mapped[bytes] = mapped_column(sa.LargeBinary)
    traceparent: Mapped[str | None] = mapped_column(sa.String(64))
    wants_hindsight: Mapped[bool] = mapped_column(sa.Boolean)
    wants_people: Mapped[bool] = mapped_column(sa.Boolean)
    outcome: Mapped[str] = mapped_column(sa.String(16), default="")
    decided_by: Mapped[str] = mapped_column(sa.String(16), default="")
    settles_at_utc_ns: Mapped[int | None] = mapped_column(sa.BigInteger, nullable=True, index=True)
    ended_at_utc_ns: Mapped[int | None] = mapped_column(sa.BigInteger, nullable=True, index=True)
    """When it ended, our clock; from then on it waits to be forgotten."""
    __table_args__ = (
        sa.Index("tasks_to_ask", "outcome", "rank", "created_at_utc_ns", "task_id"),
        sa.Index("tasks_by_project", "outcome", "project", "created_at_utc_ns"),
        sa.Index("tasks_for_hindsight", "outcome", "wants_hindsight", "created_at_utc_ns"),
    )


class EndedCountRow(Base):
    """How many tasks ended, and how: kept as they end, so that nobody has to count them again."""

    __tablename__ = "ended_counts"
    project: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    outcome: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    decided_by: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    tasks: Mapped[int] = mapped_column(sa.BigInteger)


class VoteRow(Base):
    """One answer of one author."""

    __tablename__ = "votes"
    task_id: Mapped[str] = mapped_column(sa.ForeignKey("tasks.task_id"), primary_key=True)
    author: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    source: Mapped[str] = mapped_column(sa.String(16))
    answers: Mapped[str] = mapped_column(sa.Text)
    confidence: Mapped[float]
    at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)


class LeaseRow(Base):
    """A claim on a task. One an author and task; a new one replaces an expired one."""

    __tablename__ = "leases"
    task_id: Mapped[str] = mapped_column(sa.ForeignKey("tasks.task_id"), primary_key=True)
    author: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    lease_id: Mapped[str] = mapped_column(sa.String(64), index=True)
    expires_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)


def votes_of(session: Session, task_id: str) -> list[Vote]:
    """All votes on a task."""
    return votes_by_task(session, [task_id]).get(task_id, [])


def votes_by_task(session: Session, task_ids: Sequence[str]) -> dict[str, list[Vote]]:
    """All votes on some tasks, in one query."""
    found: dict[str, list[Vote]] = {}
    for r in session.scalars(sa.select(VoteRow).where(VoteRow.task_id.in_(task_ids))):
        vote = Vote(r.author, Source(r.source), json.loads(r.answers), r.confidence, r.at_utc_ns)
        found.setdefault(r.task_id, []).append(vote)
    return found


def leases_by_task(session: Session, task_ids: Sequence[str]) -> dict[str, list[Lease]]:
    """All leases on some tasks, expired ones too, in one query."""
    found: dict[str, list[Lease]] = {}
    for r in session.scalars(sa.select(LeaseRow).where(LeaseRow.task_id.in_(task_ids))):
        found.setdefault(r.task_id, []).append(Lease(r.lease_id, r.author, r.expires_at_utc_ns))
    return found


def put_vote(session: Session, task_id: str, vote: Vote) -> None:
    """Stores a vote; an earlier one of the same author is replaced."""
    session.merge(
        VoteRow(
            task_id=task_id,
            author=vote.author,
            source=vote.source.value,
            answers=json.dumps(dict(vote.answers), sort_keys=True),
            confidence=vote.confidence,
            at_utc_ns=vote.at_utc_ns,
        )
    )


def open_tasks(
    session: Session, project: str, author: str, now_utc_ns: int, limit: int, after: TaskRow | None = None
) -> Sequence[TaskRow]:
    """Open, undecided tasks that `author` has not answered and others do not hold all of, from `after` on.

    The most urgent and then the oldest come first.
    """
    place = sa.tuple_(TaskRow.rank, TaskRow.created_at_utc_ns, TaskRow.task_id)
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
        query = query.where(place > sa.tuple_(after.rank, after.created_at_utc_ns, after.task_id))
    if project:
        query = query.where(TaskRow.project == project)
    return session.scalars(query).all()
