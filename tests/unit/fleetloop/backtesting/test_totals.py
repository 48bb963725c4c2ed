"""What a backtest adds up: by vehicle and day, in bytes, and against the triggers that run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.backtesting.clips import clip_cost, stored_clips
from fleetloop.backtesting.model import ClipCost, Fired, Result, StoredClip
from fleetloop.backtesting.page import page
from fleetloop.backtesting.screen import result_json, result_lines, result_table
from fleetloop.backtesting.subprocess_runner import trigger_text
from fleetloop.backtesting.totals import CANDIDATE, FiringTotals, clip_at, overlapping
from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.storage.objects import Objects
from fleetloop.shipped import config_folder
from fleetloop.triggerlang.trigger import Geofence, Trigger, parse_trigger

S = 10**9
DAY = 86_400 * S
NOON = 19_676 * DAY + 43_200 * S
"""2023-11-15, 12:00 UTC."""
TODAY, TOMORROW = "2023-11-15", "2023-11-16"
NEW = Trigger("new", 2, "x", pre_s=5, post_s=5, bytes_per_vehicle_day=15_000)
OLD = Trigger("old", 1, "x", pre_s=2, post_s=1)
COST = ClipCost(1000.0, 8, "measured on 3 stored clips of 8 cameras")


def fired(
    at_s: float, vehicle: str = "a", campaign: str = CANDIDATE, trigger: str = "new", boot: str = "b1"
) -> Fired:
    return Fired("f", campaign, trigger, vehicle, boot, NOON + round(at_s * S), round(at_s * S), ("because",))


def clip(vehicle: str, begin_s: int, end_s: int, address: str = "clip") -> StoredClip:
    return StoredClip(address, vehicle, NOON + begin_s * S, NOON + end_s * S, 10_000, 8)


def test_firings_are_counted_by_vehicle_and_day_and_days_without_any_count_too() -> None:
    totals = FiringTotals({})
    for at_s, vehicle in ((0, "a"), (60, "a"), (120, "b"), (86_400, "a")):
        totals.add(fired(at_s, vehicle))
    driven = {("a", TODAY): 3600.0, ("b", TODAY): 1800.0, ("a", TOMORROW): 3600.0, ("c", TODAY): 5400.0}
    result = totals.result(NEW, {}, driven, COST)
    assert [(d.vehicle, d.day, d.firings) for d in result.days] == [
        ("a", TODAY, 2), ("a", TOMORROW, 1), ("b", TODAY, 1), ("c", TODAY, 0),
    ]  # fmt: skip
    assert (result.firings, result.per_vehicle_day, result.per_hour) == (4, 1.0, 1.0)
    assert result.drives == [("a", "b1", 3), ("b", "b1", 1)]
    assert result.conditions == {"because": 4}


def test_clips_weigh_what_seconds_of_their_cameras_weigh_and_the_budget_holds_by_vehicle_and_day() -> None:
    totals = FiringTotals({})
    for at_s in (0, 60, 120):
        totals.add(fired(at_s))
    totals.add(fired(0, "b"))
    result = totals.result(NEW, {}, {}, COST)
    assert (result.clip_bytes, result.bytes_wanted, result.bytes_within_budget) == (10_000, 40_000, 25_000)
    assert COST.of(10, 2) == 2500
    assert COST.of(10, 0) == COST.of(10, 8) == 10_000


def test_overlap_is_by_vehicle_and_by_the_clips_of_both() -> None:
    totals = FiringTotals({})
    for at_s in (100, 200, 300):
        totals.add(fired(at_s))
    totals.add(fired(100, "b"))
    for other_s in (93.9, 194.0, 307.1, 207.0):
        totals.add(fired(other_s, "a", "standing", "old"))
    result = totals.result(NEW, {("standing", "old"): OLD, ("standing", "mute"): OLD}, {}, COST)
    assert [(o.trigger, o.firings, o.own_firings) for o in result.overlaps] == [("old", 1, 4)]
    assert result.unique == 3


@given(st.lists(st.integers(0, 60), max_size=8), st.lists(st.integers(0, 60), max_size=8))
def test_clips_meet_where_any_two_of_them_do(ours: list[int], theirs: list[int]) -> None:
    own, others = np.sort(np.array(ours, np.int64)) * S, np.sort(np.array(theirs, np.int64)) * S
    slowly = [any(a - 5 * S <= b + S and b - 2 * S <= a + 5 * S for b in others.tolist()) for a in own.tolist()]
    assert overlapping(own, NEW, others, OLD).tolist() == slowly


def test_samples_are_stored_clips_that_show_a_firing() -> None:
    clips = [clip("a", 0, 10, "one"), clip("a", 50, 60, "two"), clip("a", 52, 58, "three"), clip("b", 0, 90, "four")]
    assert clip_at(clips[:3], NOON + 59 * S) == clips[1]
    assert clip_at(clips[:3], NOON + 20 * S) is None
    totals = FiringTotals({"a": clips[:3], "b": clips[3:]})
    for at_s, vehicle in ((5, "a"), (20, "a"), (55, "a"), (30, "b")):
        totals.add(fired(at_s, vehicle))
    assert [s.clip.address for s in totals.result(NEW, {}, {}, COST).samples] == ["one", "three", "four"]


def test_the_weight_is_measured_where_clips_are_and_stated_where_none_is(tmp_path: object) -> None:
    schema = load_task_schema(config_folder() / "tasks.yaml")
    measured = clip_cost({"a": [clip("a", 0, 10)], "b": [clip("b", 0, 40)]}, schema, 2.0)
    assert (measured.bytes_per_s, measured.cameras) == (400.0, 8)
    assert "measured on 2 stored clips" in measured.basis
    stated = clip_cost({}, schema, 2.0)
    assert stated.bytes_per_s == sum(c.width * c.height for c in schema.cameras) * 3 * 2
    assert "no clip is stored" in stated.basis
    assert stored_clips(Objects(f"file://{tmp_path}"), "f") == {}


def test_a_trigger_goes_to_the_detector_as_the_text_of_its_file() -> None:
    trigger = Trigger(
        "t", 3, "a and b", geofence=Geofence(1, 2, 3), vehicles=("v*",), from_utc_ns=5, until_utc_ns=9 * S,
        conditions=(("a", "x > 1"), ("b", "y")), cameras=("front",), sampling_fraction=0.25, quota_labels=4,
    )  # fmt: skip
    assert parse_trigger(trigger_text(trigger)) == trigger
    for path in (config_folder() / "triggers").rglob("*.yaml"):
        shipped = parse_trigger(path.read_text())
        assert parse_trigger(trigger_text(shipped)) == shipped


def test_the_result_is_a_table_lines_json_and_a_page(tmp_path: object) -> None:
    totals = FiringTotals({"a": [clip("a", 0, 10, "gone.mcap")]})
    totals.add(fired(5))
    totals.add(fired(6, campaign="standing", trigger="old"))
    each = totals.result(NEW, {("standing", "old"): OLD}, {("a", TODAY): 3600.0}, COST)
    result = Result("file:///x", "f", 7, 700, 0, COST, "<those> shipped", [each])
    assert result_table(result).row_count == 1
    text = "\n".join(result_lines(result))
    assert "100% would also be shown by old (standing)" in text
    assert "damaged" not in text
    damaged = "\n".join(result_lines(replace(result, damaged_files=2)))
    assert "2 files are damaged: firings may be missing" in damaged
    assert "gone.mcap at 5.0 s (a, 2023-11-15 12:00:05)" in text
    assert json.loads(json.dumps(result_json(result)))["triggers"][0]["per_hour"] == pytest.approx(1.0)
    shown = page(result, Objects(f"file://{tmp_path}"))
    assert "&lt;those&gt; shipped" in shown
    assert "gone.mcap: no object at gone.mcap" in shown
