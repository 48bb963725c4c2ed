"""The controller's tables: models, rollouts, every change in sequence, what each vehicle should run and runs."""

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


class ModelRow(Base):
    """A model that passed its examination. `number` counts models in the order of arrival, from 1."""

    __tablename__ = "models"
    digest: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
    stage: Mapped[str] = mapped_column(sa.String(16))
    run: Mapped[bytes] = mapped_column(sa.LargeBinary)
    """The serialised RunChanged of the run that made it."""
    files: Mapped[str] = mapped_column(sa.Text, default="[]")
    """JSON list of [path, size, sha256], once it is in the TUF repository."""
    published: Mapped[bool] = mapped_column(sa.Boolean, default=False)
    traceparent: Mapped[str | None] = mapped_column(sa.String(64))
    latest_sequence: Mapped[int] = mapped_column(index=True)
    """Sequence of its newest change."""


class RolloutRow(Base):
    """One candidate's rollout."""

    __tablename__ = "rollouts"
    rollout_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(sa.String(64), index=True)
    previous: Mapped[str] = mapped_column(sa.String(64))
    """Model that was released when it began; empty for the first."""
    stage: Mapped[str] = mapped_column(sa.String(16))
    canary_percent: Mapped[int] = mapped_column(default=0)
    began_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    stage_began_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    reasons: Mapped[str] = mapped_column(sa.Text, default="[]")
    last_attested_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    """When the last vehicle attested the released model; 0 before."""
    open: Mapped[bool] = mapped_column(sa.Boolean, index=True)
    approved_by: Mapped[str] = mapped_column(sa.String(128), default="")
    """Person who approved the release, as kind/name."""
    running_s: Mapped[float] = mapped_column(sa.Float, default=0.0)
    """Seconds of the stage in which the controller ran and vehicles drove."""
    reports: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    """Reports that count as evidence."""
    tries: Mapped[int] = mapped_column(default=1)
    barred: Mapped[str] = mapped_column(sa.Text, default="[]")
    """JSON list of vehicles that give no evidence, because an earlier try may have ended only because of them."""
    paused_by: Mapped[str] = mapped_column(sa.String(128), default="")
    """Person who paused it, as kind/name; empty while it is not paused."""
    pause_reason: Mapped[str] = mapped_column(sa.Text, default="")


class StopRow(Base):
    """All rollouts are stopped, while there is a row; `number` is always 1."""

    __tablename__ = "stops"
    number: Mapped[int] = mapped_column(primary_key=True)
    stopped_by: Mapped[str] = mapped_column(sa.String(128))
    """Person who stopped them, as kind/name."""
    reason: Mapped[str] = mapped_column(sa.Text)
    at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)


class ChangeRow(Base):
    """A change of a model's stage. `sequence` is the token from which a subscriber resumes."""

    __tablename__ = "changes"
    sequence: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(sa.String(64), index=True)
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)


class VehicleRow(Base):
    """What a vehicle is assigned to run, and what it last attested."""

    __tablename__ = "vehicles"
    vehicle_id: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    version: Mapped[int] = mapped_column(default=1)
    signed_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    active: Mapped[str] = mapped_column(sa.String(64), default="")
    shadow: Mapped[str] = mapped_column(sa.String(64), default="")
    rollout_id: Mapped[str] = mapped_column(sa.String(64), default="")
    cohort: Mapped[str] = mapped_column(sa.String(16), default="control")
    attested: Mapped[str] = mapped_column(sa.String(64), default="")
    attested_boot: Mapped[bytes] = mapped_column(sa.LargeBinary, default=b"")
    attested_sequence: Mapped[int] = mapped_column(sa.BigInteger, default=-1)
    attested_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    attested_until_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    """End of the newest report by the vehicle's clock, at most our time. Late reports of earlier boots end before."""
    last_seen_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, default=0, index=True)
    """When it last reported or asked its director, by our clock."""
    assigned_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    """When its assignment last changed."""
    revoked: Mapped[bool] = mapped_column(sa.Boolean, default=False)
    """Whether the admission list says that it is not one of the fleet any more."""
    drove_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    """When a report with some distance last arrived from it."""


class EvidenceRow(Base):
    """What one vehicle reported in one cohort of a rollout, as far as it counts, and the evidence that it gives."""

    __tablename__ = "evidence"
    rollout_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    vehicle_id: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    cohort: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    assigned_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    """Start of the assignment that `reported_s` belongs to."""
    reported_s: Mapped[float] = mapped_column(sa.Float, default=0.0)
    km: Mapped[float] = mapped_column(sa.Float, default=0.0)
    interventions: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    against: Mapped[float] = mapped_column(sa.Float, default=0.0)
    """Evidence from interventions, nats, of all comparisons that are complete."""
    in_favour: Mapped[float] = mapped_column(sa.Float, default=0.0)
    unguarded: Mapped[float] = mapped_column(sa.Float, default=0.0)
    decisions: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    prevented: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    avoided: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    missed: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    false_stops: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    faults: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    slow: Mapped[bool] = mapped_column(sa.Boolean, default=False)


class CohortRow(Base):
    """What the vehicles of a cohort drove together, as far as it counts."""

    __tablename__ = "cohorts"
    rollout_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    cohort: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    vehicles: Mapped[int] = mapped_column(default=0)
    """Vehicles that drove some of it, or in shadow, decided something."""
    km: Mapped[float] = mapped_column(sa.Float, default=0.0)
    interventions: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    decisions: Mapped[int] = mapped_column(sa.BigInteger, default=0)


class StretchRow(Base):
    """What one vehicle drove since its conditions were last compared. A comparison deletes it."""

    __tablename__ = "stretches"
    rollout_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    conditions: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    vehicle_id: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    cohort: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    km: Mapped[float] = mapped_column(sa.Float, default=0.0)
    interventions: Mapped[int] = mapped_column(sa.BigInteger, default=0)


class RefusedRow(Base):
    """Number of reports that are no evidence in a rollout, by reason."""

    __tablename__ = "refused_reports"
    rollout_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    refusal: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    count: Mapped[int] = mapped_column(sa.BigInteger, default=0)


class DrivenRow(Base):
    """What the vehicles drove with a released model on one day, by our clock."""

    __tablename__ = "driven"
    digest: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True)
    """Days since 1970."""
    began_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    """When the first report of the day arrived."""
    km: Mapped[float] = mapped_column(sa.Float, default=0.0)
    interventions: Mapped[int] = mapped_column(sa.BigInteger, default=0)


class WaitingVersionRow(Base):
    """A committed dataset version whose samples are not in a model that drives every vehicle yet."""

    __tablename__ = "waiting_versions"
    dataset: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    committed_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    trained_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    """When the first model that was trained on it passed its examination; 0 before."""
    detected_at_utc_ns: Mapped[str] = mapped_column(sa.Text)
    """JSON list of the detection of each added sample."""


class PublicationRow(Base):
    """A publication of the TUF repository. A redo uses its number and its time again."""

    __tablename__ = "publications"
    number: Mapped[int] = mapped_column(primary_key=True)
    """Version of models.json, snapshot.json and timestamp.json."""
    signed_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    digests: Mapped[str] = mapped_column(sa.Text)
    """JSON list of the models that it lists."""
    cosigner: Mapped[str] = mapped_column(sa.String(64), default="")
    cosignature: Mapped[bytes] = mapped_column(sa.LargeBinary, default=b"")
    done: Mapped[bool] = mapped_column(sa.Boolean, default=False)
