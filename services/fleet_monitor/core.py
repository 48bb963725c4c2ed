"""Pure sums: a report is added once, old windows are let go, cohorts are compared by adding vehicles up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fleet_monitor.model import Report, Sums, VehicleRecord, Where
from fleetloop.kit.process.clock import seconds_to_ns

DAY_S = 86_400.0
EARLIER_BOOTS = 8
"""Boots before the present one whose reports may still come late."""


def window_start(utc_ns: int, window_s: float) -> int:
    """Beginning of the window that an instant lies in."""
    width_ns = seconds_to_ns(window_s)
    return utc_ns // width_ns * width_ns


def add(record: VehicleRecord, report: Report, keep_s: float, fine_s: float = DAY_S) -> VehicleRecord:
    """The record with the report in it; the same record when the report was counted before.

    Windows older than `fine_s` are added up by days, and let go after `keep_s`: the record is written whole at every
    report, and a month of narrow windows would be thousands.

    Reports of a boot come in sequence, since a vehicle's messages share a partition. One with a sequence that
    was passed is a repeat.
    """
    last = record.sequence if report.boot == record.boot else record.earlier.get(report.boot, -1)
    if report.sequence <= last:
        return record
    earlier = dict(record.earlier)
    boot, sequence = record.boot, record.sequence
    is_newest = report.end_utc_ns >= record.reported_until_utc_ns
    if report.boot == boot:
        sequence = report.sequence
    elif is_newest:
        if boot:
            earlier[boot] = sequence
        boot, sequence = report.boot, report.sequence
        earlier.pop(boot, None)
    else:
        earlier[report.boot] = report.sequence
    newest_ns = max(report.end_utc_ns, record.reported_until_utc_ns)
    horizon_ns, fine_ns = newest_ns - seconds_to_ns(keep_s), newest_ns - seconds_to_ns(fine_s)
    windows: dict[Where, Sums] = {}
    for where, sums in (*record.windows.items(), (report.where, report.sums)):
        ends_ns = where.window_start_utc_ns
        if where.window_start_utc_ns < fine_ns:
            where = replace(where, window_start_utc_ns=window_start(where.window_start_utc_ns, DAY_S))
            ends_ns = where.window_start_utc_ns + seconds_to_ns(DAY_S)
        if ends_ns >= horizon_ns:
            windows[where] = windows[where] + sums if where in windows else sums
    return replace(
        record,
        boot=boot,
        sequence=sequence,
        earlier=dict(list(earlier.items())[-EARLIER_BOOTS:]),
        latest=report.where if is_newest else record.latest,
        reported_until_utc_ns=max(record.reported_until_utc_ns, report.end_utc_ns),
        seen_at_utc_ns=max(record.seen_at_utc_ns, report.seen_at_utc_ns),
        windows=windows,
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which sums to compare. Empty or zero: no restriction."""

    rollout_id: str = ""
    model_digest: str = ""
    from_utc_ns: int = 0
    until_utc_ns: int = 0

    def takes(self, where: Where) -> bool:
        """True when sums that belong there are wanted."""
        return (
            (not self.rollout_id or where.rollout_id == self.rollout_id)
            and (not self.model_digest or where.model_digest == self.model_digest)
            and where.window_start_utc_ns >= self.from_utc_ns
            and (not self.until_utc_ns or where.window_start_utc_ns < self.until_utc_ns)
        )


def compare(records: Iterable[tuple[str, VehicleRecord]], selection: Selection) -> Mapping[Where, tuple[Sums, int]]:
    """Sums and number of vehicles by model, silent model, rollout and cohort; windows are added up (start 0)."""
    totals: dict[Where, Sums] = {}
    vehicles: dict[Where, set[str]] = {}
    for vehicle, record in records:
        for where, sums in record.windows.items():
            if selection.takes(where):
                key = replace(where, window_start_utc_ns=0)
                totals[key] = totals.get(key, Sums()) + sums
                vehicles.setdefault(key, set()).add(vehicle)
    return {key: (sums, len(vehicles[key])) for key, sums in totals.items()}
