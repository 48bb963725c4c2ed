"""What the processes that evaluate triggers say they have in force."""

from __future__ import annotations

import sqlalchemy as sa

from campaign_keeper.model import InForceReport
from campaign_keeper.queries import SILENT_S
from campaign_keeper.store import ReportRow
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.storage.database import Transaction

_KEPT_NS = seconds_to_ns(60 * SILENT_S)


def record_report(tx: Transaction, report: InForceReport) -> None:
    """Store a process's newest report, and delete reports that are long out of date."""
    now_ns = report.reported_at_utc_ns
    tx.session.merge(ReportRow(reporter=report.reporter, message=report.message, at_utc_ns=now_ns))
    tx.session.execute(sa.delete(ReportRow).where(ReportRow.at_utc_ns < now_ns - _KEPT_NS))
