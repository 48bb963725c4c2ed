"""The desk's tables. A task row keeps the event that created it, so that no field of it is lost."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fleetloop.kit.storage.database import InboxMixin, OutboxMixin, RequestMixin


class Base(DeclarativeBase):
    """This service's schema."""


class InboxRow(InboxMixin, Base):
    """Events that took effect."""


class OutboxRow(OutboxMixin, Base):
    """Events to publish."""


class RequestRow(RequestMixin, Base):
    """Answers to mutating requests."""


class TaskRow(Base):
    """A question about a sample. `outcome` is empty while it is open."""

    __tablename__ = "tasks"
    task_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    project: Mapped[str] = mapped_column(sa.String(64))
    task: Mapped[str] = mapped_column(sa.String(64))
    rank: Mapped[int]
    """Negated priority, so that ascending order serves the highest first."""
    agreement: Mapped[int]
    created_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    created: Mapped[bytes] = mapped_column(sa.LargeBinary)
    """The serialised LabelTaskCreated."""
    traceparent: Mapped[str | None] = mapped_column(sa.String(64))
    wants_hindsight: Mapped[bool] = mapped_column(sa.Boolean)
    wants_people: Mapped[bool] = mapped_column(sa.Boolean)
    """Whether people are asked; always, if the task names no source that the desk can ask."""
    audited: Mapped[bool] = mapped_column(sa.Boolean, default=False)
    """Whether people check an automatic answer: it does not decide."""
    vehicle_refuted: Mapped[bool] = mapped_column(sa.Boolean, default=False, server_default=sa.false())
    """Whether the check says nothing about the source, because people contradicted the vehicle's earlier answers."""
    outcome: Mapped[str] = mapped_column(sa.String(16), default="")
    decided_by: Mapped[str] = mapped_column(sa.String(16), default="")
    settles_at_utc_ns: Mapped[int | None] = mapped_column(sa.BigInteger, nullable=True, index=True)
    """When the undo window is over and the votes end the task; None while they decide nothing."""
    ended_at_utc_ns: Mapped[int | None] = mapped_column(sa.BigInteger, nullable=True, index=True)
    """When it ended, by our clock; the row is pruned some time after it."""
    __table_args__ = (
        sa.Index("tasks_to_ask", "outcome", "rank", "created_at_utc_ns", "task_id"),
        sa.Index("tasks_by_project", "outcome", "project", "created_at_utc_ns"),
        sa.Index("tasks_for_hindsight", "outcome", "wants_hindsight", "created_at_utc_ns"),
    )


class EndedCountRow(Base):
    """How many tasks ended, and how. Counted as they end, so that no query has to group all rows."""

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


class AuditRow(Base):
    """An automatic answer that people checked."""

    __tablename__ = "audits"
    task_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    source: Mapped[str] = mapped_column(sa.String(16))
    agreed: Mapped[bool]
    at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    vehicle_id: Mapped[str] = mapped_column(sa.String(128), default="", server_default="")
    of_source: Mapped[bool] = mapped_column(sa.Boolean, default=True, server_default=sa.true())
    """Whether it counts for the source too."""
    __table_args__ = (
        sa.Index("audits_by_source", "source", "of_source", "at_utc_ns"),
        sa.Index("audits_by_vehicle", "source", "vehicle_id", "at_utc_ns"),
    )


class VehicleAgreementRow(Base):
    """How often people agreed with a source's newest answers about one vehicle, counted with each check."""

    __tablename__ = "vehicle_agreements"
    source: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    vehicle_id: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    agreed: Mapped[int]
    checked: Mapped[int]


class LeaseRow(Base):
    """A claim on a task. One per author and task: a new lease replaces an expired one."""

    __tablename__ = "leases"
    task_id: Mapped[str] = mapped_column(sa.ForeignKey("tasks.task_id"), primary_key=True)
    author: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    lease_id: Mapped[str] = mapped_column(sa.String(64), index=True)
    expires_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    __table_args__ = (sa.Index("leases_by_author", "author", "expires_at_utc_ns"),)
