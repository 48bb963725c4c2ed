"""The router's tables: firings with their routing, and clips that arrived before their firing."""

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


class FiringRow(Base):
    """A firing. `message` is its serialised TriggerFired. Its project stays as decided when the routes change."""

    __tablename__ = "firings"
    firing_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    vehicle_id: Mapped[str] = mapped_column(sa.String(128))
    trigger: Mapped[str] = mapped_column(sa.String(128))
    model_digest: Mapped[str] = mapped_column(sa.String(64))
    cell: Mapped[str] = mapped_column(sa.String(160))
    onset_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    progress: Mapped[str] = mapped_column(sa.String(16))
    reason: Mapped[str] = mapped_column(sa.String(32), default="")
    detail: Mapped[str] = mapped_column(sa.Text, default="")
    project: Mapped[str] = mapped_column(sa.String(64), default="")
    task: Mapped[str] = mapped_column(sa.String(64), default="")
    task_id: Mapped[str] = mapped_column(sa.String(64), default="")
    clip_bytes: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)
    traceparent: Mapped[str | None] = mapped_column(sa.String(64))
    decided_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    last_asked_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    expires_at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    __table_args__ = (
        sa.Index("same_place", "trigger", "model_digest", "cell", "onset_utc_ns"),
        sa.Index("same_vehicle", "vehicle_id", "trigger", "onset_utc_ns"),
        sa.Index("waiting", "progress", "last_asked_utc_ns"),
    )


class PrunedCountRow(Base):
    """How many firings were pruned, so that counts cover all firings."""

    __tablename__ = "forgotten_counts"
    trigger: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    progress: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    reason: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    firings: Mapped[int] = mapped_column(sa.BigInteger)


class EarlyClipRow(Base):
    """A clip whose firing has not been read yet: there is no order between the two topics."""

    __tablename__ = "early_clips"
    firing_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)
    at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, index=True)
