from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_monitor.codec import from_bytes, to_bytes
from fleet_monitor.core import (
    MAX_WINDOWS,
    PAST_BOOTS,
    RECENT_BOOTS,
    Outcome,
    Selection,
    add,
    compare,
    decide,
    window_start,
)
from fleet_monitor.model import Report, SumKey, Sums, VehicleRecord

S = 10**9


def report(
    sequence: int,
    boot: str = "b1",
    minute: int | None = None,
    rollout: str = "r",
    km: float = 1.0,
    seen: int | None = None,
) -> Report:
    start = (sequence if minute is None else minute) * 60 * S
    where = SumKey("m" * 64, "", rollout, 3, window_start(start, 600))
    sums = Sums(autopilot_km=km, interventions=1, reports=1, faults={"clip_gone": 1}, inference_p99_ms_max=sequence)
    return Report(boot, sequence, where, sums, start + 60 * S, start + 60 * S if seen is None else seen)


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
    record = add(VehicleRecord(), report(0, boot="old", rollout="old"), 1e9)
    record = add(record, report(5, rollout="new"), 1e9)
    record = add(record, report(1, boot="old", minute=9, rollout="old"), 1e9)
    assert record.latest is not None and record.latest.rollout_id == "new"
    assert record.reported_until_utc_ns == 6 * 60 * S


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
    for where, sums in record.windows.items():
        width_s = 600 if sums.added_at_utc_ns >= record.seen_at_utc_ns - 3600 * S else 86_400
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


DAY_NS = 86_400 * S
NOW_NS = 1_790_000_000 * S


def at(sequence: int, boot: str, end_ns: int, seen_ns: int) -> Report:
    where = SumKey("m", "", "r", 3, window_start(end_ns - 60 * S, 600))
    return Report(boot, sequence, where, Sums(autopilot_km=10.0, interventions=2, reports=1), end_ns, seen_ns)


@pytest.mark.parametrize("lead_ns", [1024 * 7 * DAY_NS, -1024 * 7 * DAY_NS, -NOW_NS, 2**62 - NOW_NS, 7200 * S])
def test_a_report_with_a_wrong_clock_costs_its_placement_and_no_other_report(lead_ns: int) -> None:
    record = VehicleRecord()
    for number in range(3):
        record = add(record, at(number, "b1", NOW_NS + number * 60 * S, NOW_NS + number * 60 * S), 30 * 86_400)
    record = add(record, at(3, "b1", NOW_NS + lead_ns, NOW_NS + 180 * S), 30 * 86_400)
    for number in range(4, 7):
        record = add(record, at(number, "b1", NOW_NS + number * 60 * S, NOW_NS + number * 60 * S), 30 * 86_400)
    for number in range(2):
        record = add(record, at(number, "b2", NOW_NS + DAY_NS, NOW_NS + DAY_NS + number), 30 * 86_400)
    assert total(record).reports == 9
    assert total(record).autopilot_km == pytest.approx(90)
    assert total(record).interventions == 18
    assert all(where.window_start_utc_ns <= NOW_NS + DAY_NS for where in record.windows)
    assert record.boot == "b2"


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_no_report_counts_twice_however_many_boots_later_whatever_the_clocks_say(data: st.DataObject) -> None:
    """The reference remembers everything. What it accepts and the record skips is never more than was announced."""
    record, counted, new = VehicleRecord(), set[tuple[str, int]](), dict[str, int]()
    seen_ns = NOW_NS
    for _ in range(data.draw(st.integers(1, 4))):
        burst = data.draw(st.integers(1, 150))
        for _ in range(burst):
            boot = f"boot-{len(new)}"
            new[boot] = 0
            end_ns = seen_ns + data.draw(st.sampled_from([0, -DAY_NS, -(10**18), 10**18]))
            seen_ns += S
            before = record
            record = add(record, at(0, boot, end_ns, seen_ns), 1e9)
            assert record is not before
            counted.add((boot, 0))
        for _ in range(5):
            boot, sequence = data.draw(st.sampled_from(sorted(new))), data.draw(st.integers(0, 3))
            known = (boot, sequence) in counted
            outcome = decide(record, at(sequence, boot, seen_ns, seen_ns))
            assert not (known and outcome is Outcome.COUNTED)
            recent = boot == record.boot or boot in record.earlier
            if not known and recent and sequence > new[boot]:
                assert outcome is Outcome.COUNTED, "late reports of recent boots count"
                record = add(record, at(sequence, boot, seen_ns, seen_ns), 1e9)
                counted |= {(boot, each) for each in range(sequence + 1)}
                new[boot] = sequence
    record = from_bytes(to_bytes(record))
    for boot, sequence in counted:
        assert add(record, at(sequence, boot, seen_ns, seen_ns), 1e9) is record
    assert len(record.earlier) <= RECENT_BOOTS


def test_thousands_of_boots_do_not_grow_the_record_and_no_repeat_counts() -> None:
    record, counted = VehicleRecord(), []
    for number in range(5000):
        before = record
        record = add(record, at(0, f"{number:032x}", NOW_NS, NOW_NS + number), 1e9)
        if record is not before:
            counted.append(number)
    assert counted == list(range(RECENT_BOOTS + PAST_BOOTS + 1))
    assert len(to_bytes(record)) < 20_000
    later_ns = NOW_NS + 34 * DAY_NS
    assert decide(record, at(0, "new", later_ns, later_ns)) is Outcome.TOO_MANY_BOOTS
    for number in counted:
        assert decide(record, at(0, f"{number:032x}", NOW_NS, later_ns)) is Outcome.REPEAT
    assert decide(record, at(1, record.boot, later_ns, later_ns)) is Outcome.COUNTED
    later_ns = NOW_NS + 37 * DAY_NS
    record = add(record, at(0, "new", later_ns, later_ns), 1e9)
    assert record.boot == "new"


def test_an_honest_vehicle_is_never_short_of_boots() -> None:
    """Fifty boots a day for two months, a report each."""
    record = VehicleRecord()
    for number in range(50 * 60):
        seen_ns = NOW_NS + number * DAY_NS // 50
        before = record
        record = add(record, at(0, f"boot-{number}", seen_ns, seen_ns), 30 * 86_400)
        assert record is not before
    assert len(to_bytes(record)) < 30_000


def test_reports_of_a_week_without_a_network_count_in_whatever_order_their_boots_come() -> None:
    record = VehicleRecord()
    for boot in (3, 0, 2, 1):
        for sequence in range(100):
            end_ns = NOW_NS + (boot * 100 + sequence) * 60 * S
            record = add(record, at(sequence, f"b{boot}", end_ns, NOW_NS + 7 * DAY_NS), 30 * 86_400)
    assert total(record).reports == 400


@pytest.mark.parametrize("honest", [False, True])
def test_a_vehicle_that_invents_windows_and_models_does_not_grow_its_record(honest: bool) -> None:
    def where(number: int) -> SumKey:
        return SumKey("m" if honest else f"{number:064x}", "", "r", 3, number * 600 * S)

    added_ns = range(NOW_NS - MAX_WINDOWS, NOW_NS)
    full = {where(number): Sums(reports=1, added_at_utc_ns=at) for number, at in enumerate(added_ns)}
    record = VehicleRecord(windows=full, seen_at_utc_ns=NOW_NS)
    for number in range(20):
        new = Report("b", number, where(MAX_WINDOWS + number), Sums(reports=1), NOW_NS, NOW_NS + number)
        record = add(record, new, 1e9, 1e9)
    assert len(record.windows) == MAX_WINDOWS
    assert total(record).reports == MAX_WINDOWS + (20 if honest else 0), "windows of one key are merged"
