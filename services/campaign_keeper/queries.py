"""What the keeper reads: every function here may run in `Database.read`, and in a writing transaction too."""

from __future__ import annotations

import sqlalchemy as sa

from campaign_keeper.codec import campaign_from
from campaign_keeper.model import Campaign, Count, Earnings, InForceReport
from campaign_keeper.store import CampaignRow, EarningRow, ReportRow, RevisionRow
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.refusal import NotFoundError
from fleetloop.kit.storage.database import Transaction

REVISIONS_KEPT = 200
"""Revisions of each campaign that its history keeps."""
_REVISIONS_LISTED = 50
SILENT_S = 60.0
"""A process that has not reported for this many seconds has nothing in force."""


def find_campaign(tx: Transaction, name: str) -> Campaign | None:
    """The newest revision of a campaign; None when there is no campaign of this name."""
    row = tx.session.get(CampaignRow, name)
    return None if row is None else campaign_from(row.message)


def known_campaign(tx: Transaction, name: str) -> Campaign:
    """The newest revision of a campaign. Raises NotFoundError."""
    campaign = find_campaign(tx, name)
    if campaign is None:
        raise NotFoundError("no such campaign", "campaign", "ListCampaigns has them all")
    return campaign


def campaigns(tx: Transaction) -> list[Campaign]:
    """The newest revision of every campaign, by name."""
    rows = tx.session.scalars(sa.select(CampaignRow).order_by(CampaignRow.campaign))
    return [campaign_from(row.message) for row in rows]


def revisions(tx: Transaction, name: str, limit: int = 0) -> list[Campaign]:
    """A campaign's revisions, newest first; 0 lists the usual number."""
    query = sa.select(RevisionRow).where(RevisionRow.campaign == name).order_by(RevisionRow.revision.desc())
    rows = tx.session.scalars(query.limit(min(limit or _REVISIONS_LISTED, REVISIONS_KEPT)))
    return [campaign_from(row.message) for row in rows]


def labels_of(tx: Transaction, campaign: str, trigger: str, version: int) -> int:
    """Agreed labels of a trigger version."""
    row = tx.session.get(EarningRow, (campaign, trigger, version, Count.LABELLED.value))
    return row.value if row else 0


def ledger(tx: Transaction, campaign: str = "") -> list[Earnings]:
    """What every trigger version earned, by campaign, trigger and version; drops are not in this database."""
    query = sa.select(EarningRow).order_by(EarningRow.campaign, EarningRow.trigger, EarningRow.version)
    if campaign:
        query = query.where(EarningRow.campaign == campaign)
    found: dict[tuple[str, str, int], Earnings] = {}
    for row in tx.session.scalars(query):
        key = (row.campaign, row.trigger, row.version)
        setattr(found.setdefault(key, Earnings(*key)), Count(row.count).value, row.value)
    return list(found.values())


def in_force(tx: Transaction, now_utc_ns: int) -> list[InForceReport]:
    """The newest report of every process that still reports, by process."""
    alive = sa.select(ReportRow).where(ReportRow.at_utc_ns >= now_utc_ns - seconds_to_ns(SILENT_S))
    return [
        InForceReport(row.reporter, row.message, row.at_utc_ns)
        for row in tx.session.scalars(alive.order_by(ReportRow.reporter))
    ]
