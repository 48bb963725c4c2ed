"""The desk's tables. A task row keeps the event that made it, so nothing of it is lost in translation."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from fleetkit.database import InboxMixin, OutboxMixin, RequestMixin
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
    priority: Mapped[int]
    agreement: Mapped[int]
    created_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    created: Mapped[bytes] = mapped_column(sa.LargeBinary)
    traceparent: Mapped[str | None] = mapped_column(sa.String(64))
    wants_hindsight: Mapped[bool] = mapped_column(sa.Boolean)
    wants_people: Mapped[bool] = mapped_column(sa.Boolean)
    outcome: Mapped[str] = mapped_column(sa.String(16), default="")
    decided_by: Mapped[str] = mapped_column(sa.String(16), default="")
    settles_at_utc_ns: Mapped[int | None] = mapped_column(sa.BigInteger, nullable=True)
    __table_args__ = (sa.Index("open_tasks", "outcome", "priority", "created_at_utc_ns"),)


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
    lease_id: Mapped[str] = mapped_column(sa.String(64))
    expires_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)


def votes_of(session: Session, task_id: str) -> list[Vote]:
    """All votes on a task."""
    rows = session.scalars(sa.select(VoteRow).where(VoteRow.task_id == task_id))
    return [Vote(r.author, Source(r.source), json.loads(r.answers), r.confidence, r.at_utc_ns) for r in rows]


def leases_of(session: Session, task_id: str) -> list[Lease]:
    """All leases on a task, expired ones too."""
    rows = session.scalars(sa.select(LeaseRow).where(LeaseRow.task_id == task_id))
    return [Lease(r.lease_id, r.author, r.expires_at_utc_ns) for r in rows]


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


def open_tasks(session: Session, project: str, author: str, limit: int, offset: int = 0) -> Sequence[TaskRow]:
    """Open, undecided tasks that `author` has not answered, the most urgent and then the oldest first."""
    answered = sa.exists().where(VoteRow.task_id == TaskRow.task_id, VoteRow.author == author)
    query = (
        sa.select(TaskRow)
        .where(~answered)
        .where(
            TaskRow.outcome == "", TaskRow.settles_at_utc_ns.is_(None), TaskRow.wants_people, ~TaskRow.wants_hindsight
        )
        .order_by(TaskRow.priority.desc(), TaskRow.created_at_utc_ns, TaskRow.task_id)
        .limit(limit)
        .offset(offset)
    )
    if project:
        query = query.where(TaskRow.project == project)
    return session.scalars(query).all()
