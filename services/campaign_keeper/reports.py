"""What the processes that evaluate triggers say they have in force. One that is silent for a minute is gone."""

from __future__ import annotations

import sqlalchemy as sa

from campaign_keeper.store import ReportRow
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.storage.database import Transaction
from fleetloop.protos.campaign.v1 import campaign_pb2

SILENT_S = 60.0


def note_report(tx: Transaction, report: campaign_pb2.ReportInForceRequest, now_utc_ns: int) -> None:
    """Keeps a process's newest word, and drops what is long out of date."""
    tx.session.merge(ReportRow(reporter=report.reporter, message=report.SerializeToString(), at_utc_ns=now_utc_ns))
    tx.session.execute(sa.delete(ReportRow).where(ReportRow.at_utc_ns < now_utc_ns - seconds_to_ns(60 * SILENT_S)))


def in_force(tx: Transaction, now_utc_ns: int) -> list[campaign_pb2.ProcessInForce]:
    """The processes that still report, by name."""
    alive = sa.select(ReportRow).where(ReportRow.at_utc_ns >= now_utc_ns - seconds_to_ns(SILENT_S))
    return [
        campaign_pb2.ProcessInForce(
            report=campaign_pb2.ReportInForceRequest.FromString(row.message), reported_at_utc_ns=row.at_utc_ns
        )
        for row in tx.session.scalars(alive.order_by(ReportRow.reporter))
    ]
