from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_monitor.codec import from_bytes, to_bytes
from fleet_monitor.core import Selection, add, compare, window_start
from fleet_monitor.model import Report, SumKey, Sums, VehicleRecord

S = 10**9


def report(sequence: int, boot: str = "b1", minute: int | None = None, rollout: str = "r", km: float = 1.0) -> Report:
    start = (sequence if minute is None else minute) * 60 * S
    where = SumKey("m" * 64, "", rollout, 3, window_start(start, 600))
    sums = Sums(autopilot_km=km, interventions=1, reports=1, faults={"clip_gone": 1}, inference_p99_ms_max=sequence)
    return Report(boot, sequence, where, sums, start + 60 * S, 0)


def total(record: VehicleRecord) -> Sums:
    return sum(record.windows.values(), Sums())


@given(st.lists(st.integers(0, 20), max_size=60))
def test_each_report_counts_once_however_often_it_comes(repeats: list[int]) -> None:
    record = VehicleRecord()
    for sequence in range(21):
        record = add(record, report(sequence), 1e9)
        for again in repeats:
            if again <= sequence:
                assert add(record, report(again), 1e9) is record
    assert total(record).reports == 21
    assert total(record).faults == {"clip_gone": 21}
    assert total(record).inference_p99_ms_max == 20


def test_late_reports_of_an_earlier_boot_count_once() -> None:
    record = add(VehicleRecord(), report(0), 1e9)
    record = add(record, report(0, boot="b2", minute=100), 1e9)
    late = add(record, report(1, minute=1), 1e9)
    assert total(late).reports == 3
    assert late.boot == "b2"
    assert add(late, report(1, minute=1), 1e9) is late
    assert add(late, report(0), 1e9) is late


def test_what_drives_is_what_the_newest_report_says() -> None:
    record = add(VehicleRecord(), report(5, rollout="new"), 1e9)
    record = add(record, report(0, boot="old", minute=1, rollout="old"), 1e9)
    assert record.latest is not None and record.latest.rollout_id == "new"


def test_old_windows_are_let_go() -> None:
    record = VehicleRecord()
    for minute in range(0, 200, 10):
        record = add(record, report(minute), keep_s=3600)
    assert min(where.window_start_utc_ns for where in record.windows) >= 190 * 60 * S - 3600 * S
    assert len(record.windows) <= 7


def test_cohorts_are_summed_over_vehicles_and_windows_as_selected() -> None:
    one = add(add(VehicleRecord(), report(0), 1e9), report(30), 1e9)
    two = add(VehicleRecord(), report(0, km=3.0), 1e9)
    other = add(VehicleRecord(), report(0, rollout="other"), 1e9)
    found = compare([("a", one), ("b", two), ("c", other)], Selection(rollout_id="r"))
    ((where, (sums, vehicles)),) = found.items()
    assert sums.autopilot_km == pytest.approx(5.0)
    assert (sums.reports, vehicles) == (3, 2)
    assert where.rollout_id == "r"
    late = compare([("a", one)], Selection(from_utc_ns=30 * 60 * S))
    assert next(iter(late.values()))[0].reports == 1


def test_a_record_survives_the_changelog() -> None:
    record = VehicleRecord()
    for sequence in range(3):
        record = add(record, report(sequence), 1e9)
    record = add(record, report(0, boot="b2", minute=50), 1e9)
    assert from_bytes(to_bytes(record)) == record


@given(st.lists(st.tuples(st.integers(0, 20_000), st.sampled_from(["r", "q"])), min_size=1, max_size=60))
def test_adding_old_windows_up_by_days_loses_nothing_within_what_is_kept(reports: list[tuple[int, str]]) -> None:
    record = VehicleRecord()
    for sequence, (minute, rollout) in enumerate(reports):
        record = add(record, report(sequence, minute=minute, rollout=rollout), keep_s=1e9, fine_s=3600)
    assert total(record).reports == len(reports)
    for rollout in ("r", "q"):
        wanted = sum(name == rollout for _, name in reports)
        found = compare([("car", record)], Selection(rollout_id=rollout))
        assert sum(sums.interventions for sums, _ in found.values()) == wanted
    newest_ns = record.reported_until_utc_ns
    for where in record.windows:
        width_s = 600 if where.window_start_utc_ns >= newest_ns - 3600 * S else 86_400
        assert where.window_start_utc_ns % (width_s * S) == 0


def test_a_vehicle_that_drives_around_the_clock_has_few_windows_and_all_that_is_kept() -> None:
    record = VehicleRecord()
    month_s = 30 * 86_400.0
    for number in range(0, 40 * 1440, 10):
        record = add(record, report(number), keep_s=month_s)
    assert len(record.windows) <= 145 + 31
    oldest_s = (record.reported_until_utc_ns - min(w.window_start_utc_ns for w in record.windows)) / S
    assert month_s - 86_400 < oldest_s <= month_s + 86_400
    assert total(record).reports >= 30 * 144
