"""The keeper's tables: campaigns with every revision, firings, and the ledger's counters."""

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


class CampaignRow(Base):
    """The newest revision of a campaign. `message` is the serialised Campaign that announced it."""

    __tablename__ = "campaigns"
    campaign: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    revision: Mapped[int]
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)


class RevisionRow(Base):
    """The newest revisions of a campaign, `queries.REVISIONS_KEPT` of them."""

    __tablename__ = "revisions"
    campaign: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)


class FiringRow(Base):
    """The trigger version that a firing belongs to: clips name only the firing."""

    __tablename__ = "firings"
    firing_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    campaign: Mapped[str] = mapped_column(sa.String(64))
    trigger: Mapped[str] = mapped_column(sa.String(128))
    version: Mapped[int]
    at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, index=True)


class EarlyRow(Base):
    """A count for a firing that has not been read yet: there is no order between topics."""

    __tablename__ = "early"
    firing_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    count: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    amount: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, index=True)


class CommitRow(Base):
    """A dataset version whose samples were counted. There are few, and their topic is kept forever."""

    __tablename__ = "commits"
    event_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)


class ResumptionRow(Base):
    """A trigger version that a person started again: its quota counts from the labels that it had then."""

    __tablename__ = "resumptions"
    campaign: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    trigger: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    labelled: Mapped[int] = mapped_column(sa.BigInteger)


class ReportRow(Base):
    """What a process that evaluates triggers has in force, by its newest report."""

    __tablename__ = "reports"
    reporter: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    message: Mapped[bytes] = mapped_column(sa.LargeBinary)
    at_utc_ns: Mapped[int] = mapped_column(sa.BigInteger, index=True)


class EarningRow(Base):
    """One counter of one trigger version."""

    __tablename__ = "earnings"
    campaign: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    trigger: Mapped[str] = mapped_column(sa.String(128), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    count: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    value: Mapped[int] = mapped_column(sa.BigInteger, default=0)
