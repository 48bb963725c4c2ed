"""The curator's tables: versions, samples that wait for a commit, and the intent of the commit under way.

Lance holds the samples, this database the truth of what a version is: Lance's own version numbers also rise when
an index is made.
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
    """A version that is final. `message` is the DatasetCommitted that announced it."""

    __tablename__ = "versions"
    dataset: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)
    frozen: Mapped[bool] = mapped_column(sa.Boolean)


class WaitingRow(Base):
    """A labelled sample that waits for the next commit. `message` is its SampleLabelled."""

    __tablename__ = "waiting"
    sample_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    task: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    dataset: Mapped[str] = mapped_column(sa.String(64), index=True)
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)
    since_utc_ns: Mapped[int] = mapped_column(sa.BigInteger)
    traceparent: Mapped[str | None] = mapped_column(sa.String(64))


class IntentRow(Base):
    """A commit under way. One a dataset: a second one is refused by the key."""

    __tablename__ = "intents"
    dataset: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    commit_id: Mapped[str] = mapped_column(sa.String(64))
    number: Mapped[int]
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)
    """The DatasetCommitted that will announce it, Lance's tag in it."""
    sample_ids: Mapped[str] = mapped_column(sa.Text)
    """Waiting rows that it takes, refused ones too, as JSON."""
    admitted_ids: Mapped[str] = mapped_column(sa.Text)
    request_id: Mapped[str] = mapped_column(sa.String(128), default="")
    """Import request that it answers; empty for commits of labels."""
