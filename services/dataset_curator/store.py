"""The curator's tables: versions, samples that wait for a commit, and pending commits.

Lance holds the samples. This database says what a version is: Lance's own version numbers also rise when an index is
made.
"""

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


class VersionRow(Base):
    """A version that is final. `message` is the serialised DatasetCommitted that announced it."""

    __tablename__ = "versions"
    dataset: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)
    frozen: Mapped[bool] = mapped_column(sa.Boolean)


class WaitingRow(Base):
    """A labelled sample that waits for the next commit. `message` is its serialised SampleLabelled."""

    __tablename__ = "waiting"
    sample_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    task: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    dataset: Mapped[str] = mapped_column(sa.String(64), index=True)
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)
    since_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    traceparent: Mapped[str | None] = mapped_column(sa.String(64))
    vehicle_id: Mapped[str] = mapped_column(sa.String(128), default="", server_default="")
    held: Mapped[bool] = mapped_column(sa.Boolean, default=False, server_default=sa.false())
    """Whether a commit left it out because its vehicle has its share of the dataset."""
    __table_args__ = (sa.Index("waiting_by_vehicle", "dataset", "held", "vehicle_id", "since_utc_ns"),)


class VehicleCountRow(Base):
    """Samples of one vehicle in the newest version, counted with each commit. Vehicle "" has the imported ones.

    A dataset without a row for vehicle "" was never counted: its version is older than this table.
    """

    __tablename__ = "vehicle_counts"
    dataset: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    vehicle_id: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    samples: Mapped[int]


class ProposalRow(Base):
    """A change of a test set that one person asked for and that waits for a second one to ask for the same."""

    __tablename__ = "proposals"
    dataset: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    """Digest of the set that would be imported."""
    proposed_by: Mapped[str] = mapped_column(sa.String(128))
    proposed_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, index=True)


class RetractionRow(Base):
    """An origin whose samples are refused. A repeated retraction of the same origin replaces the row."""

    __tablename__ = "retractions"
    rule_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    """Hash of the dataset and the origin."""
    dataset: Mapped[str] = mapped_column(sa.String(64), index=True)
    vehicle_id: Mapped[str] = mapped_column(sa.String(128))
    clip_id: Mapped[str] = mapped_column(sa.String(64))
    trigger: Mapped[str] = mapped_column(sa.String(128))
    trigger_version: Mapped[int]
    label_source: Mapped[str] = mapped_column(sa.String(16))
    version: Mapped[str] = mapped_column(sa.String(64))
    """Version that removed the rows; empty when no version had any."""
    first_version: Mapped[str] = mapped_column(sa.String(16))
    retracted_by: Mapped[str] = mapped_column(sa.String(128))
    reason: Mapped[str] = mapped_column(sa.Text)
    retracted_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    readmitted_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    """Samples that were detected later than this are admitted again; 0 while all are refused."""
    readmitted_by: Mapped[str] = mapped_column(sa.String(128), default="")


class IntentRow(Base):
    """A pending commit. There is one per dataset: the primary key refuses a second one."""

    __tablename__ = "intents"
    dataset: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    commit_id: Mapped[str] = mapped_column(sa.String(64))
    number: Mapped[int]
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)
    """The serialised DatasetCommitted that will announce it. It has Lance's tag."""
    sample_ids: Mapped[str] = mapped_column(sa.Text)
    """JSON list of the waiting samples that it uses up, the refused ones too."""
    admitted_ids: Mapped[str] = mapped_column(sa.Text)
    """JSON list of the samples that it adds."""
    request_id: Mapped[str] = mapped_column(sa.String(128), default="")
    """Request for an import or a retraction that it answers; empty for a commit of labels."""
    by_vehicle: Mapped[str] = mapped_column(sa.Text, default="{}", server_default="{}")
    """JSON: vehicle -> samples that it adds, or removes as a negative number."""
