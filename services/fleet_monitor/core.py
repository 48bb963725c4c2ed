"""Adds each report once, merges and prunes old windows, and compares cohorts by adding vehicles up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from fleet_monitor.model import Report, SumKey, Sums, VehicleRecord
from fleetloop.kit.process.clock import seconds_to_ns

DAY_S = 86_400.0
RECENT_BOOTS = 64
"""Boots whose last sequence is stored, so that their late reports still count."""
PAST_BOOTS = 2048
"""Boots before those of which only a digest is stored, so that their repeats are recognised."""
REMEMBERED_DAYS = 35
"""Days for which a boot is never forgotten. It has to exceed the retention of the topic of reports."""
MAX_WINDOWS = 2000
"""Windows of a vehicle. One that drives around the clock has under 200 for each model."""
MAX_AHEAD_S = 3600.0
"""Seconds by which a report may end after its arrival. Beyond it, the vehicle's UTC is wrong."""
_DIGEST_BYTES = 4


def window_start(utc_ns: int, window_s: float) -> int:
    """The start of the window that contains an instant, in nanoseconds."""
    width_ns = seconds_to_ns(window_s)
    return utc_ns // width_ns * width_ns


class Outcome(StrEnum):
    """The outcome of a report, as the metric of messages names it."""

    COUNTED = "handled"
    REPEAT = "repeat"
    """It was counted before, or it may have been: nothing more is known of its boot than that it was seen."""
    TOO_MANY_BOOTS = "skipped"
    """It is of a new boot, and the vehicle had more boots than are remembered."""


def decide(record: VehicleRecord, report: Report) -> Outcome:
    """Whether a report counts. No report counts twice, and late reports of the `RECENT_BOOTS` count.

    The reports of a boot arrive in sequence, because the messages of a vehicle share a partition. So a report is a
    repeat when its sequence is not above the last one of its boot.
    """
    last = record.sequence if report.boot == record.boot else record.earlier.get(report.boot)
    if last is not None:
        return Outcome.COUNTED if report.sequence > last else Outcome.REPEAT
    digest = _digest(report.boot)
    if any(digest in _split(digests) for digests in record.past.values()):
        return Outcome.REPEAT
    remembered = _past_count(_remembered(record.past, report.seen_at_utc_ns))
    if len(record.earlier) >= RECENT_BOOTS and remembered >= PAST_BOOTS:
        return Outcome.TOO_MANY_BOOTS
    return Outcome.COUNTED


def add(record: VehicleRecord, report: Report, keep_s: float, fine_s: float = DAY_S) -> VehicleRecord:
    """Returns the record with the report added, or the same record when the report does not count (`decide`).

    All ages are by the time at which reports arrived, never by the vehicle's clock, which may be wrong by decades:
    that costs at most a report's placement in time. A report that ends after its arrival is placed at its arrival.
    Windows to which nothing was added for `fine_s` are merged into days, and pruned after `keep_s`, because the
    record is written whole at every report and a month has thousands of narrow windows.
    """
    if decide(record, report) is not Outcome.COUNTED:
        return record
    now_ns = max(report.seen_at_utc_ns, record.seen_at_utc_ns)
    boot, sequence = record.boot, record.sequence
    earlier, past = dict(record.earlier), dict(record.past)
    is_late = report.boot in earlier
    if report.boot == boot:
        sequence = report.sequence
    elif is_late:
        del earlier[report.boot]
        earlier[report.boot] = report.sequence
    else:
        if boot:
            earlier[boot] = sequence
        boot, sequence = report.boot, report.sequence
    if len(earlier) > RECENT_BOOTS:
        oldest = next(iter(earlier))
        del earlier[oldest]
        day = _day(now_ns)
        past[day] = past.get(day, b"") + _digest(oldest)
        past = _remembered(past, now_ns)
    return replace(
        record,
        boot=boot,
        sequence=sequence,
        earlier=earlier,
        past=past,
        latest=record.latest if is_late else report.where,
        reported_until_utc_ns=record.reported_until_utc_ns if is_late else report.end_utc_ns,
        seen_at_utc_ns=now_ns,
        windows=_windows(record, report, now_ns, keep_s, fine_s),
    )


def _windows(
    record: VehicleRecord, report: Report, now_ns: int, keep_s: float, fine_s: float
) -> Mapping[SumKey, Sums]:
    placed = report.where
    if report.end_utc_ns > report.seen_at_utc_ns + seconds_to_ns(MAX_AHEAD_S):
        placed = replace(placed, window_start_utc_ns=window_start(report.seen_at_utc_ns, DAY_S))
    horizon_ns, fine_ns = now_ns - seconds_to_ns(keep_s), now_ns - seconds_to_ns(fine_s)
    windows: dict[SumKey, Sums] = {}
    for where, sums in (*record.windows.items(), (placed, replace(report.sums, added_at_utc_ns=now_ns))):
        if sums.added_at_utc_ns < horizon_ns:
            continue
        if sums.added_at_utc_ns < fine_ns:
            where = replace(where, window_start_utc_ns=window_start(where.window_start_utc_ns, DAY_S))
        windows[where] = windows[where] + sums if where in windows else sums
    return windows if len(windows) <= MAX_WINDOWS else _limited(windows)


def _limited(windows: Mapping[SumKey, Sums]) -> Mapping[SumKey, Sums]:
    """Merges or drops the windows to which nothing was added for longest. Only a vehicle that lies has so many."""
    ordered = sorted(windows.items(), key=lambda item: item[1].added_at_utc_ns)
    surplus, rest = ordered[: len(ordered) - MAX_WINDOWS], dict(ordered[len(ordered) - MAX_WINDOWS :])
    by_key = {replace(where, window_start_utc_ns=0): where for where in rest}
    for where, sums in surplus:
        same = by_key.get(replace(where, window_start_utc_ns=0))
        if same is not None:
            rest[same] = sums + rest[same]
    return rest


def _digest(boot: str) -> bytes:
    return hashlib.blake2b(boot.encode(), digest_size=_DIGEST_BYTES).digest()


def _split(digests: bytes) -> set[bytes]:
    return {digests[at : at + _DIGEST_BYTES] for at in range(0, len(digests), _DIGEST_BYTES)}


def _day(utc_ns: int) -> int:
    return utc_ns // seconds_to_ns(DAY_S)


def _past_count(past: Mapping[int, bytes]) -> int:
    return sum(map(len, past.values())) // _DIGEST_BYTES


def _remembered(past: Mapping[int, bytes], now_ns: int) -> dict[int, bytes]:
    """Without the oldest days, if there are too many boots and the days are older than `REMEMBERED_DAYS`."""
    kept = dict(past)
    for day in sorted(past):
        if _past_count(kept) <= PAST_BOOTS - 1 or day >= _day(now_ns) - REMEMBERED_DAYS:
            break
        del kept[day]
    return kept


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
