"""comma2k19's minute: the detector finds exactly what loops over its own arrays, written without it, find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fleetloop.domain.clips import Drive, read_drive
from fleetloop.domain.signals import load_catalogue
from fleetloop.triggerlang.trigger import Trigger
from fleetloop.worlds.comma2k19 import convert, find_comma2k19
from fleetloop.worlds.recorded import RecordedDrive
from trigger_detector.core import DetectorState, evaluate_batches_in_place
from trigger_detector.model import Appended, CampaignRevision, Limits
from trigger_detector.plan import make_plan

CATALOGUE = load_catalogue(Path(__file__).parents[3] / "config" / "signals.yaml")
S = 10**9
Ints = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    segment = find_comma2k19()
    if segment is None:
        pytest.skip("no recording of comma2k19 is there: see docs/drives.md")
    target = tmp_path_factory.mktemp("comma") / "minute.mcap"
    convert(segment, target)
    return read_drive(target)


def onsets(drive: Drive, trigger: Trigger, frames_per_batch: int) -> list[int]:
    plan, problems = make_plan([(CampaignRevision("c", 1, True, (trigger,)), 0)], CATALOGUE, Limits())
    assert problems == ()
    state, found = DetectorState(), []
    for stretch in RecordedDrive(drive, frames_per_batch).stretches("f", "v", b"12345678"):
        append_ms = stretch.batch.start_monotonic_ns // 10**6
        result = evaluate_batches_in_place(state, [Appended(stretch.batch, append_ms)], plan)
        found += [firing.onset_monotonic_ns for firing in result.firings]
    return found


def by_hand(times: Sequence[int], holds: Callable[[int], bool | None], interval_s: float) -> list[int]:
    """Where a condition turns true that was last known to be false, the first in each slot."""
    found: list[int] = []
    slots: set[int] = set()
    last: bool | None = None
    for index, now in enumerate(times):
        holding = holds(index)
        if holding and last is False and (slot := now // round(interval_s * S)) not in slots:
            slots.add(slot)
            found.append(now)
        last = last if holding is None else holding
    return found


def of(drive: Drive, path: str) -> tuple[Ints, npt.NDArray[np.float64]]:
    """(times, values); of several values at one instant the last."""
    signal = drive.signals[path]
    last = np.append(np.diff(signal.times_ns) > 0, True)
    return signal.times_ns[last], signal.values[last].astype(np.float64)


@pytest.mark.parametrize("frames_per_batch", [100, 37])
def test_speed_that_rises_over_a_line(drive: Drive, frames_per_batch: int) -> None:
    times, kmh = of(drive, "Vehicle.Speed")
    expected = by_hand(times.tolist(), lambda i: bool(np.float32(kmh[i]) > 45), 0.2)
    assert len(expected) >= 1
    assert onsets(drive, Trigger("a", 1, "Vehicle.Speed > 45 km/h", min_interval_s=0.2), frames_per_batch) == expected


@pytest.mark.parametrize("frames_per_batch", [100, 37])
def test_slowing_as_a_regression_over_a_second(drive: Drive, frames_per_batch: int) -> None:
    times, kmh = of(drive, "Vehicle.Speed")

    def slows(index: int) -> bool | None:
        within = (times > times[index] - S) & (times <= times[index])
        if within.sum() < 3 or 2 * (times[within][-1] - times[within][0]) < S:
            return None
        seconds = (times[within] - times[index]) / S
        return bool(np.polyfit(seconds, kmh[within], 1)[0] / 3.6 < -1.0)

    expected = by_hand(times.tolist(), slows, 2)
    assert len(expected) >= 1
    trigger = Trigger("a", 1, "slope(Vehicle.Speed, 1 s) < -1 m/s^2", min_interval_s=2)
    assert onsets(drive, trigger, frames_per_batch) == expected


@pytest.mark.parametrize("frames_per_batch", [100, 37])
def test_something_near_in_the_radars_lists(drive: Drive, frames_per_batch: int) -> None:
    lists, metres = drive.signals["Radar.Object.Id"], drive.signals["Radar.Object.Distance"].values.astype(np.float64)
    left = drive.signals["Radar.Object.Lateral"].values.astype(np.float64)
    assert lists.splits is not None
    splits = lists.splits

    def near(index: int) -> bool:
        inside = slice(int(splits[index]), int(splits[index + 1]))
        return bool(((metres[inside] < 25) & (np.abs(left[inside]) < 1.5)).any())

    expected = by_hand(lists.times_ns.tolist(), near, 1)
    assert len(expected) >= 1
    expression = "any_track(Radar.Object, Distance < 25 m and abs(Lateral) < 1.5 m)"
    assert onsets(drive, Trigger("a", 1, expression, min_interval_s=1), frames_per_batch) == expected
