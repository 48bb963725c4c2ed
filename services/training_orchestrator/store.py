"""The orchestrator's tables: dataset versions, runs, and the stage of each model."""

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
    """A dataset version."""

    __tablename__ = "versions"
    arrival: Mapped[int] = mapped_column("place", primary_key=True, autoincrement=True)
    """Counts versions in the order in which they became known."""
    dataset: Mapped[str] = mapped_column(sa.String(64), index=True)
    version: Mapped[str] = mapped_column(sa.String(16))
    samples: Mapped[int]
    table_address: Mapped[str] = mapped_column(sa.Text)
    lance_tag: Mapped[str] = mapped_column(sa.String(64))
    frozen: Mapped[bool] = mapped_column(sa.Boolean)
    earliest_detected_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    latest_detected_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    content_digest: Mapped[str] = mapped_column(sa.String(64), default="", server_default="")
    removed_so_far: Mapped[int] = mapped_column(default=0, server_default="0")
    """Samples that this version and all before it removed."""
    traceparent: Mapped[str | None] = mapped_column(sa.String(64))


class RunRow(Base):
    """A run. `message` is the serialised RunChanged as last announced."""

    __tablename__ = "runs"
    run_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    number: Mapped[int] = mapped_column(unique=True)
    dataset: Mapped[str] = mapped_column(sa.String(64), index=True)
    samples: Mapped[int]
    """Samples that had ever been added when it began, so that the count of new ones never falls."""
    state: Mapped[str] = mapped_column(sa.String(16), index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    passed_digest: Mapped[str] = mapped_column(sa.String(64), default="", index=True)
    """Digest of the model if it passed its examination: only such a model may be co-signed."""
    files: Mapped[str] = mapped_column(sa.Text, default="{}")
    """JSON: artifact name -> [size in bytes, SHA-256]."""
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)
    traceparent: Mapped[str | None] = mapped_column(sa.String(64))


class ModelStageRow(Base):
    """The latest stage of each model, from the new-model events."""

    __tablename__ = "model_stages"
    digest: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    stage: Mapped[int]
    """A number of `model.ModelStage`."""
    sequence: Mapped[int] = mapped_column(sa.BigInteger)
    previous: Mapped[str] = mapped_column(sa.String(64))
    artifact_address: Mapped[str] = mapped_column(sa.Text)
