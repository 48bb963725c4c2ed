"""The rules of firing, one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import parse_catalogue
from fleetloop.triggerlang.trigger import ALWAYS, Geofence, Trigger
from trigger_detector.campaigns import CampaignBook
from trigger_detector.core import DetectorState, evaluate_batches_in_place
from trigger_detector.model import Appended, CampaignRevision, Firing, Limits, Tally
from trigger_detector.plan import applies_to, inside, make_plan

CATALOGUE = parse_catalogue("""
signals:
  X: {type: float32, max_age_s: 3}
  Vehicle.CurrentLocation.Latitude: {type: float64, unit: deg, max_age_s: 5}
  Vehicle.CurrentLocation.Longitude: {type: float64, unit: deg, max_age_s: 5}
""")
LIMITS = Limits(horizon_s=40, lateness_s=20)
S = 10**9
MODEL, SHADOW = "a1" * 32, "b2" * 32
UTC0 = 1_000 * S
HIGH = Trigger("high", 1, "X > 1", min_interval_s=1)


def batch(
    sequence: int, start_s: float, values: list[float], step_s: float = 0.5, location: dict[str, Column] | None = None
) -> FrameBatch:
    offsets = (np.arange(len(values)) * step_s * S).astype(np.int64)
    columns = {"X": Column(np.array(values, np.float32))} | {
        f"Vehicle.CurrentLocation.{name}": column for name, column in (location or {}).items()
    }
    start_ns = round(start_s * S)
    utc_ns = UTC0 + start_ns
    return FrameBatch("f", "v", b"12345678", sequence, start_ns, utc_ns, "gnss", offsets, columns, MODEL, SHADOW)


def run(trigger: Trigger, *batches: FrameBatch, at_s: list[float] | None = None) -> tuple[list[Firing], Tally]:
    """Each batch appended when it starts, unless ``at_s`` says when; all in one step."""
    plan, problems = make_plan([(CampaignRevision("c", 1, True, (trigger,)), 0)], CATALOGUE, LIMITS)
    assert problems == ()
    times = at_s or [b.start_monotonic_ns / S for b in batches]
    log = [Appended(b, round(t * 1000)) for b, t in zip(batches, times, strict=True)]
    result = evaluate_batches_in_place(DetectorState(), log, plan)
    return list(result.firings), result.tally


def onsets_s(trigger: Trigger, *batches: FrameBatch, at_s: list[float] | None = None) -> list[float]:
    return [f.onset_monotonic_ns / S for f in run(trigger, *batches, at_s=at_s)[0]]


def test_a_firing_carries_what_is_needed_to_act_on_it() -> None:
    trigger = replace(HIGH, conditions=(("very", "X > 4"), ("some", "X > 1")), evidence=("X",))
    location = {
        "Latitude": Column(np.array([1.0, 2, 3])),
        "Longitude": Column(np.array([4.0, 5, 6])),
    }
    (firing,), tally = run(trigger, batch(0, 10, [0, 3, 5], location=location))
    assert (firing.onset_monotonic_ns, firing.onset_utc_ns) == (round(10.5 * S), UTC0 + round(10.5 * S))
    assert (firing.conditions, firing.evidence["X"], firing.location) == (("some",), 3.0, (2.0, 5.0))
    assert (firing.slot, firing.sequence, firing.model_digest, firing.campaign) == (10, 0, MODEL, "c")
    assert (tally.batches, tally.frames) == (1, 3)


def test_the_id_names_the_slot_and_what_is_in_it() -> None:
    (a,), _ = run(HIGH, batch(0, 10, [0, 3]))
    (same_slot,), _ = run(HIGH, batch(7, 10.2, [0, 3], 0.3))
    assert a.firing_id == same_slot.firing_id
    others = [
        run(HIGH, batch(0, 11, [0, 3])),
        run(replace(HIGH, version=2), batch(0, 10, [0, 3])),
        run(replace(HIGH, name="other"), batch(0, 10, [0, 3])),
        run(HIGH, replace(batch(0, 10, [0, 3]), vehicle_id="w")),
        run(HIGH, replace(batch(0, 10, [0, 3]), boot_id=b"87654321")),
        run(HIGH, replace(batch(0, 10, [0, 3]), fleet_id="g")),
    ]
    ids = [firings[0].firing_id for firings, _ in others]
    assert len({a.firing_id, *ids}) == 7


def test_unknown_is_not_false() -> None:
    nan = float("nan")
    assert onsets_s(HIGH, batch(0, 10, [5, 5, 5])) == []
    assert onsets_s(HIGH, batch(0, 10, [nan, 5, 5])) == []
    assert onsets_s(HIGH, batch(0, 10, [0, nan, 5])) == [11]
    assert onsets_s(replace(HIGH, min_interval_s=0.1), batch(0, 10, [0, 5, nan, 5, 0, 5])) == [10.5, 12.5]


def test_one_firing_a_slot_and_always_means_once_in_each() -> None:
    flapping = batch(0, 10, [0, 5, 0, 5, 0, 5, 0, 5], 0.3)
    assert onsets_s(HIGH, flapping) == [10.3, 11.5, 12.1]
    held = batch(0, 10, [5] * 6)
    assert onsets_s(replace(HIGH, mode=ALWAYS), held) == [10, 11, 12]
    assert onsets_s(replace(HIGH, mode=ALWAYS, min_interval_s=10), held) == [10]


def test_an_onset_may_lie_between_batches() -> None:
    assert onsets_s(HIGH, batch(0, 10, [0, 0]), batch(1, 11, [5, 5])) == [11]


def test_a_repeat_does_nothing_and_a_late_batch_stands_alone() -> None:
    first, second = batch(0, 10, [0, 0]), batch(1, 12, [0, 5])
    firings, tally = run(HIGH, first, second, second, first, at_s=[10, 12, 13, 14])
    assert (len(firings), tally.duplicates) == (1, 2)
    late = batch(2, 11, [5, 5], 0.2)
    assert onsets_s(HIGH, first, second, late, at_s=[10, 12, 13]) == [12.5]
    late = batch(2, 11, [0, 5], 0.2)
    assert onsets_s(HIGH, first, second, late, at_s=[10, 12, 13]) == [12.5, 11.2]
    _, tally = run(HIGH, batch(5, 40, [0]), late, at_s=[40, 41])
    assert tally.too_late == 1


@pytest.mark.parametrize(("gap_s", "append_gap_s", "fires"), [(9, 9, True), (11, 9, False), (9, 11, False)])
def test_a_falsehood_is_remembered_by_both_clocks(gap_s: float, append_gap_s: float, fires: bool) -> None:
    assert LIMITS.memory_s() == 10
    onsets = onsets_s(HIGH, batch(0, 10, [0]), batch(1, 10 + gap_s, [5]), at_s=[100, 100 + append_gap_s])
    assert bool(onsets) == fires


def test_a_point_leaves_a_window_by_the_brokers_clock_too() -> None:
    trigger = replace(HIGH, expression="max(X, 8 s) > 4 and X < 1", mode=ALWAYS, min_interval_s=100)
    assert onsets_s(trigger, batch(0, 10, [5]), batch(1, 12, [0]), at_s=[100, 109]) == [12]
    assert onsets_s(trigger, batch(0, 10, [5]), batch(1, 12, [0]), at_s=[100, 111]) == []


def test_where_and_when_it_applies_is_decided_at_the_onset() -> None:
    north = {"Latitude": Column(np.array([0.0, 0, 50, 50])), "Longitude": Column(np.zeros(4))}
    fenced = replace(HIGH, geofence=Geofence(50, 0, 1000), min_interval_s=100)
    assert onsets_s(fenced, batch(0, 10, [0, 5, 0, 5], location=north)) == [11.5]
    assert onsets_s(fenced, batch(0, 10, [0, 5, 0, 5])) == []
    ranged = replace(HIGH, from_utc_ns=UTC0 + 11 * S, min_interval_s=100)
    assert onsets_s(ranged, batch(0, 10, [0, 5, 0, 5])) == [11.5]
    assert onsets_s(replace(HIGH, until_utc_ns=UTC0 + 11 * S), batch(0, 10, [0, 5, 0, 5])) == [10.5]
    assert onsets_s(replace(HIGH, vehicles=("w*",)), batch(0, 10, [0, 5])) == []


def test_a_share_of_the_fleet_is_a_share_and_stays_the_same() -> None:
    quarter = replace(HIGH, sampling_fraction=0.25)
    chosen = [v for v in range(4000) if applies_to(quarter, "f", f"v{v}")]
    assert 850 < len(chosen) < 1150
    assert set(chosen) <= {v for v in range(4000) if applies_to(replace(HIGH, sampling_fraction=0.5), "f", f"v{v}")}
    assert not any(applies_to(replace(HIGH, sampling_fraction=0.0), "f", f"v{v}") for v in range(100))


def test_a_fence_is_a_circle_on_a_sphere() -> None:
    fence = Geofence(47.6, -122.3, 1000)
    assert inside(fence, 47.6089, -122.3)
    assert not inside(fence, 47.6091, -122.3)
    assert inside(fence, 47.6, -122.3133)
    assert not inside(fence, 47.6, -122.3135)
    assert inside(Geofence(0, 180, 1000), 0, -179.995)


def test_a_trigger_that_cannot_run_leaves_the_others_alone() -> None:
    wrong = replace(HIGH, name="wrong", expression="Y > 1")
    plan, problems = make_plan([(CampaignRevision("c", 1, True, (wrong, HIGH)), 0)], CATALOGUE, LIMITS)
    assert [a.trigger.name for a in plan.actives] == ["high"]
    assert [p.trigger for p in problems] == ["wrong"]
    assert "unknown signal `Y`" in problems[0].message


def test_each_revision_counts_from_its_event_time_until_the_next() -> None:
    book = CampaignBook()
    assert book.add(CampaignRevision("c", 1, True, (HIGH,)))
    assert book.add(CampaignRevision("c", 2, False, (HIGH,), UTC0 + 11 * S))
    assert not book.add(CampaignRevision("c", 2, True, (HIGH,), UTC0))
    assert not book.add(CampaignRevision("c", 1, True, (HIGH,)))
    plan, _ = make_plan(book.in_force(), CATALOGUE, LIMITS)
    result = evaluate_batches_in_place(DetectorState(), [Appended(batch(0, 10, [0, 5, 0, 5]), 0)], plan)
    assert [f.onset_monotonic_ns / S for f in result.firings] == [10.5]
    assert book.add(CampaignRevision("c", 3, True, (HIGH,)))
    assert [(r.revision, until) for r, until in book.in_force()] == [(3, 0)]
    assert book.remove("c")
    assert make_plan(book.in_force(), CATALOGUE, LIMITS)[0].actives == ()


def test_silent_vehicles_are_forgotten() -> None:
    plan, _ = make_plan([(CampaignRevision("c", 1, True, (HIGH,)), 0)], CATALOGUE, LIMITS)
    state = DetectorState()
    evaluate_batches_in_place(state, [Appended(batch(0, 10, [0]), 0)], plan)
    other = replace(batch(0, 10, [0]), vehicle_id="w")
    evaluate_batches_in_place(state, [Appended(other, 41_000)], plan)
    assert [b"w" in key for key in state.vehicles] == [True]


def test_state_is_no_more_than_the_windows_need() -> None:
    trigger = replace(HIGH, expression="mean(X, 2 s) > 1")
    plan, _ = make_plan([(CampaignRevision("c", 1, True, (trigger,)), 0)], CATALOGUE, LIMITS)
    state = DetectorState()
    sizes = []
    for number in range(50):
        sent = batch(number, 10.0 * number, [0] * 100, 0.1)
        evaluate_batches_in_place(state, [Appended(sent, 10_000 * number)], plan)
        sizes.append(state.nbytes())
    assert len(set(sizes[1:])) == 1
    assert sizes[-1] <= 21 * (8 + 4) + 100
