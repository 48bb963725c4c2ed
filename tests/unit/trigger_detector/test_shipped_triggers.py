"""The shipped triggers fire on what they are for, and on nothing else that looks like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import load_catalogue
from fleetloop.triggerlang.trigger import parse_trigger
from trigger_detector.core import DetectorState, evaluate_batches_in_place
from trigger_detector.model import Appended, CampaignRevision, Firing, Limits
from trigger_detector.plan import make_plan

ROOT = Path(__file__).parents[3]
CATALOGUE = load_catalogue(ROOT / "config" / "signals.yaml")
TRIGGERS = tuple(parse_trigger(p.read_text()) for p in sorted((ROOT / "config" / "triggers").glob("*.yaml")))
PLAN, PROBLEMS = make_plan([(CampaignRevision("c", 1, True, TRIGGERS), 0)], CATALOGUE, Limits())
COMMA = ROOT.parent / "shared" / "data" / "comma2k19" / "Example_1"
Signal = tuple[np.ndarray, np.ndarray]


def fired(signals: dict[str, Signal], batch_s: float = 10.0) -> list[Firing]:
    """Sends signals, each (seconds, values), in batches of ``batch_s`` with every signal's own offsets."""
    begin = min(float(t[0]) for t, _ in signals.values() if len(t))
    end = max(float(t[-1]) for t, _ in signals.values() if len(t))
    state = DetectorState()
    found: list[Firing] = []
    for number in range(int((end - begin) / batch_s) + 1):
        low, high = begin + number * batch_s, begin + (number + 1) * batch_s
        columns: dict[str, Column] = {}
        for path, (times, values) in signals.items():
            within = (times >= low) & (times < high)
            if within.any():
                words = CATALOGUE[path].values
                columns[path] = Column(values[within], np.round((times[within] - low) * 1e9).astype(np.int64),
                                       dictionary=words)  # fmt: skip
        start = round(low * 1e9)
        batch = FrameBatch("f", "v", b"12345678", number, start, start, "gnss", np.zeros(1, np.int64), columns)
        result = evaluate_batches_in_place(state, [Appended(batch, start // 10**6)], PLAN)
        found += result.firings
    return found


def names(firings: list[Firing]) -> list[str]:
    return [f.trigger.name for f in firings]


def steady(seconds: float, value: float | bool | int, hz: float = 10.0) -> Signal:
    times = np.arange(0, seconds, 1 / hz)
    dtype = {bool: np.bool_, int: np.uint8, float: np.float32}[type(value)]
    return times, np.full(len(times), value, dtype)


def changed(signal: Signal, low_s: float, high_s: float, value: float) -> Signal:
    times, values = signal
    return times, np.where((times >= low_s) & (times < high_s), np.array(value, values.dtype), values)


def calm(seconds: float = 40.0) -> dict[str, Signal]:
    """A person drives at 40 km/h on an empty road, and the model agrees."""
    return {
        "Vehicle.Speed": steady(seconds, 40.0),
        "Vehicle.Chassis.SteeringWheel.Angle": steady(seconds, 0.0),
        "Vehicle.Chassis.Brake.PedalPosition": steady(seconds, 0.0),
        "Vehicle.Chassis.Accelerator.PedalPosition": steady(seconds, 10.0),
        "Autopilot.Engaged": steady(seconds, False),
        "Map.Feature": steady(seconds, 0),
        "Map.FeatureDistance": steady(seconds, 1000.0),
        "Perception.StopSign.IsSign": steady(seconds, 0.02, 2),
        "Perception.StopSign.Applies": steady(seconds, 0.9, 2),
        "Perception.LeadVehicle.Present": steady(seconds, 0.02, 2),
        "Perception.TrafficLight.State": steady(seconds, 0, 2),
    }


def test_all_can_be_compiled() -> None:
    assert PROBLEMS == ()


def test_a_calm_drive_fires_nothing() -> None:
    assert fired(calm()) == []


def test_a_person_who_takes_over_by_braking_is_an_intervention() -> None:
    drive = calm()
    drive["Autopilot.Engaged"] = changed(steady(40, True), 20, 99, False)
    drive["Vehicle.Chassis.Brake.PedalPosition"] = changed(steady(40, 0.0), 19.8, 22, 60)
    firings = fired(drive)
    assert names(firings) == ["driver_intervention"]
    assert firings[0].onset_monotonic_ns == 20 * 10**9
    assert set(firings[0].conditions) == {"took_over", "braked"}
    assert firings[0].evidence["Vehicle.Speed"] == 40


def test_switching_off_without_touching_anything_is_none() -> None:
    drive = calm()
    drive["Autopilot.Engaged"] = changed(steady(40, True), 20, 99, False)
    drive["Vehicle.Chassis.Accelerator.PedalPosition"] = steady(40, 0.0)
    assert fired(drive) == []


def test_a_sign_that_flickers() -> None:
    drive = calm() | {"Map.Feature": steady(40, 1), "Map.FeatureDistance": steady(40, 40.0)}
    drive["Autopilot.Engaged"] = steady(40, True)
    drive["Perception.StopSign.IsSign"] = changed(steady(40, 0.95, 2), 20, 20.4, 0.2)
    assert names(fired(drive)) == ["flicker"]
    drive["Perception.StopSign.IsSign"] = changed(steady(40, 0.95, 2), 20, 99, 0.2)
    assert names(fired(drive)) == []


def test_a_sign_of_the_map_that_is_not_seen_and_one_that_it_has_not() -> None:
    drive = calm()
    drive["Map.Feature"] = changed(steady(40, 0), 15, 21, 1)
    drive["Map.FeatureDistance"] = changed(changed(steady(40, 1000.0), 15, 19, 40), 19, 21, 12)
    firings = fired(drive)
    assert [(f.trigger.name, "missed" in f.conditions) for f in firings] == [("map_disagreement", True)]
    drive = calm() | {"Autopilot.Engaged": steady(40, True)}
    drive["Perception.StopSign.IsSign"] = changed(steady(40, 0.02, 2), 20, 23, 0.9)
    firings = fired(drive)
    assert [f.conditions for f in firings if f.trigger.name == "map_disagreement"] == [("invented", "model_sees")]


def test_a_person_who_halts_where_the_model_sees_no_reason() -> None:
    drive = calm()
    times = drive["Vehicle.Speed"][0]
    slowing = np.clip(40 - 7 * np.maximum(times - 20, 0), 0, 40).astype(np.float32)
    drive["Vehicle.Speed"] = (times, slowing)
    assert names(fired(drive)) == ["human_disagreement"]
    drive["Perception.TrafficLight.State"] = changed(steady(40, 0, 2), 20, 99, 1)
    assert names(fired(drive)) == []


def test_a_person_who_drives_on_where_the_model_would_halt() -> None:
    drive = calm() | {"Map.Feature": steady(40, 1), "Map.FeatureDistance": steady(40, 40.0)}
    drive["Perception.StopSign.IsSign"] = changed(steady(40, 0.02, 2), 20, 22, 0.9)
    firings = fired(drive)
    assert [f.conditions for f in firings] == [("drove_on", "person_drives")]


def test_hard_braking_is_found_through_jitter_and_jitter_alone_is_not() -> None:
    rng = np.random.default_rng(1)
    true_s = np.arange(0, 60, 1 / 83)
    jittered_s = np.sort(true_s + rng.normal(0, 0.006, len(true_s)))

    def drive(deceleration_mps2: float) -> dict[str, Signal]:
        kmh = 60 - 3.6 * deceleration_mps2 * np.clip(true_s - 30, 0, 3)
        return {"Vehicle.Speed": (jittered_s, (kmh + rng.normal(0, 0.05, len(kmh))).astype(np.float32))}

    gentle = drive(2.5)
    times, values = gentle["Vehicle.Speed"]
    naive = np.diff(values) / np.maximum(np.diff(times), 1e-4) / 3.6
    assert naive.min() < -3.5, "the jitter must be worth the name"
    assert names(fired(gentle)) == []
    hard = fired(drive(5.0))
    assert names(hard) == ["hard_braking"]
    assert 30.5e9 < hard[0].onset_monotonic_ns < 31.2e9


def test_the_real_minute_brakes_gently() -> None:
    """comma2k19's minute: timestamps 0.18 to 26 ms apart, real deceleration at most 2.2 m/s^2."""
    folders = sorted(COMMA.glob("*/*/processed_log/CAN/speed")) if COMMA.is_dir() else []
    if not folders:
        pytest.skip(f"no recording under {COMMA}: the synthetic jitter test above stands in for it")
    times, speed_mps = (np.load(folders[0] / name).ravel() for name in ("t", "value"))
    order = np.argsort(times, kind="stable")
    times, kmh = times[order], (speed_mps[order] * 3.6).astype(np.float32)
    steps_s = np.diff(times)
    naive = np.diff(kmh)[steps_s > 0] / steps_s[steps_s > 0] / 3.6
    assert naive.min() < -20
    assert names(fired({"Vehicle.Speed": (times, kmh)})) == []
