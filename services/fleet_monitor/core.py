"""Adds each report once, merges and prunes old windows, and compares cohorts by adding vehicles up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from fleet_monitor.model import Report, SumKey, Sums, VehicleRecord
from fleetloop.kit.process.clock import seconds_to_ns

DAY_S = 86_400.0
EARLIER_BOOTS = 8
"""Boots before the current one whose late reports are still recognised as repeats."""


def window_start(utc_ns: int, window_s: float) -> int:
    """The start of the window that contains an instant, in nanoseconds."""
    width_ns = seconds_to_ns(window_s)
    return utc_ns // width_ns * width_ns


def add(record: VehicleRecord, report: Report, keep_s: float, fine_s: float = DAY_S) -> VehicleRecord:
    """Returns the record with the report added, or the same record when the report was counted before.

    Windows older than `fine_s` are merged into days and pruned after `keep_s`, because the record is written whole at
    every report and a month has thousands of narrow windows.

    The reports of a boot arrive in sequence, because the messages of a vehicle share a partition. So a report is a
    repeat when its sequence is not above the last one of its boot.
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
    windows: dict[SumKey, Sums] = {}
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
    """Which sums to compare. An empty or zero field restricts nothing."""

    rollout_id: str = ""
    model_digest: str = ""
    from_utc_ns: int = 0
    until_utc_ns: int = 0

    def includes(self, where: SumKey) -> bool:
        """Whether sums with this key are selected."""
        return (
            (not self.rollout_id or where.rollout_id == self.rollout_id)
            and (not self.model_digest or where.model_digest == self.model_digest)
            and where.window_start_utc_ns >= self.from_utc_ns
            and (not self.until_utc_ns or where.window_start_utc_ns < self.until_utc_ns)
        )


def compare(records: Iterable[tuple[str, VehicleRecord]], selection: Selection) -> Mapping[SumKey, tuple[Sums, int]]:
    """Sums and numbers of vehicles by model, shadow model, rollout and cohort.

    Windows are added up, so the keys have the window start 0.
    """
    totals: dict[SumKey, Sums] = {}
    vehicles: dict[SumKey, set[str]] = {}
    for vehicle, record in records:
        for where, sums in record.windows.items():
            if selection.includes(where):
                key = replace(where, window_start_utc_ns=0)
                totals[key] = totals.get(key, Sums()) + sums
                vehicles.setdefault(key, set()).add(vehicle)
    return {key: (sums, len(vehicles[key])) for key, sums in totals.items()}
