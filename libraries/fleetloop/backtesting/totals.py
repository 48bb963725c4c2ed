"""Add up firings as they arrive. Pure, and with little memory per firing: there may be millions."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fleetloop.backtesting.model import ClipCost, Fired, Overlap, Sample, StoredClip, TriggerResult, VehicleDay
from fleetloop.kit.process.clock import seconds_to_ns, utc_second
from fleetloop.triggerlang.trigger import Trigger

CANDIDATE = ""
"""The campaign of the backtested triggers; active triggers keep their own."""
_SAMPLES = 6
Key = tuple[str, str]
"""(campaign, trigger)."""
DrivenSeconds = Mapping[tuple[str, str], float]
"""Seconds of telemetry by (vehicle, UTC day)."""
Ints = npt.NDArray[np.int64]


class FiringTotals:
    """Firings by trigger, with what a result needs of them."""

    def __init__(self, clips: Mapping[str, Sequence[StoredClip]]) -> None:
        """Take stored `clips` by vehicle, from which samples are chosen."""
        self._clips = {vehicle: sorted(own, key=lambda clip: clip.start_utc_ns) for vehicle, own in clips.items()}
        self._onsets: defaultdict[Key, defaultdict[str, array[int]]] = defaultdict(lambda: defaultdict(_int64_array))
        self._drives: defaultdict[Key, Counter[tuple[str, str]]] = defaultdict(Counter)
        self._conditions: defaultdict[Key, Counter[str]] = defaultdict(Counter)
        self._samples: defaultdict[Key, list[Sample]] = defaultdict(list)

    def add(self, fired: Fired) -> None:
        """Count a firing."""
        key = (fired.campaign, fired.trigger)
        self._onsets[key][fired.vehicle].append(fired.onset_utc_ns)
        if fired.campaign != CANDIDATE:
            return
        self._drives[key][fired.vehicle, fired.boot] += 1
        self._conditions[key].update(fired.conditions)
        samples = self._samples[key]
        if len(samples) < _SAMPLES and sum(s.fired.vehicle == fired.vehicle for s in samples) < 2:
            clip = clip_at(self._clips.get(fired.vehicle, []), fired.onset_utc_ns)
            if clip is not None and all(s.clip != clip for s in samples):
                samples.append(Sample(fired, clip))

    def result(
        self, trigger: Trigger, active: Mapping[Key, Trigger], driven: DrivenSeconds, cost: ClipCost
    ) -> TriggerResult:
        """Return the result of a backtested trigger, compared with the active ones."""
        key = (CANDIDATE, trigger.name)
        days = _days(self._onsets[key], driven)
        each = cost.of(trigger.pre_s + trigger.post_s, len(trigger.cameras))
        overlaps, unique = self._overlaps(trigger, active)
        return TriggerResult(
            name=trigger.name,
            version=trigger.version,
            firings=sum(day.firings for day in days),
            days=days,
            drives=[(vehicle, boot, count) for (vehicle, boot), count in self._drives[key].most_common()],
            conditions=dict(self._conditions[key].most_common()),
            clip_bytes=each,
            bytes_wanted=each * sum(day.firings for day in days),
            bytes_within_budget=sum(_limited(each * day.firings, trigger.bytes_per_vehicle_day) for day in days),
            overlaps=overlaps,
            unique=unique,
            samples=self._samples[key],
        )

    def _overlaps(self, trigger: Trigger, active: Mapping[Key, Trigger]) -> tuple[list[Overlap], int]:
        fired = self._onsets[CANDIDATE, trigger.name]
        own = {vehicle: np.sort(np.array(times, np.int64)) for vehicle, times in fired.items()}
        shown = {vehicle: np.zeros(len(times), bool) for vehicle, times in own.items()}
        overlaps = []
        for key, other in sorted(active.items()):
            theirs: Mapping[str, Sequence[int]] = self._onsets.get(key, {})
            met = 0
            for vehicle, times in own.items():
                meets = overlapping(times, trigger, np.sort(np.array(theirs.get(vehicle, ()), np.int64)), other)
                shown[vehicle] |= meets
                met += int(meets.sum())
            if met:
                overlaps.append(Overlap(*key, met, sum(len(times) for times in theirs.values())))
        unique = sum(int((~each).sum()) for each in shown.values())
        return sorted(overlaps, key=lambda overlap: -overlap.firings), unique


def overlapping(onsets: Ints, trigger: Trigger, others: Ints, other: Trigger) -> npt.NDArray[np.bool_]:
    """Return for each onset whether its clip would overlap a clip of one of `others`. Both are sorted, in ns."""
    low = onsets - seconds_to_ns(trigger.pre_s + other.post_s)
    high = onsets + seconds_to_ns(trigger.post_s + other.pre_s)
    meets: npt.NDArray[np.bool_] = np.searchsorted(others, high, "right") > np.searchsorted(others, low, "left")
    return meets


def clip_at(clips: Sequence[StoredClip], at_utc_ns: int) -> StoredClip | None:
    """Return a clip that contains an instant, or None. `clips` are one vehicle's, sorted by start."""
    starts = [clip.start_utc_ns for clip in clips]
    after = int(np.searchsorted(starts, at_utc_ns, "right"))
    # Clips last seconds, so one that started more than 20 clips earlier does not reach the instant.
    return next((clip for clip in reversed(clips[max(0, after - 20) : after]) if clip.end_utc_ns >= at_utc_ns), None)


def _days(onsets: Mapping[str, Iterable[int]], driven: DrivenSeconds) -> list[VehicleDay]:
    fired: Counter[tuple[str, str]] = Counter()
    for vehicle, times in onsets.items():
        fired.update((vehicle, day_of(at)) for at in times)
    days = [
        VehicleDay(*key, round(driven.get(key, 0.0) / 3600, 4), fired[key])
        for key in sorted(driven.keys() | fired.keys())
    ]
    return sorted(days, key=lambda day: -day.firings)


def day_of(utc_ns: int) -> str:
    """Return the UTC day as YYYY-MM-DD."""
    return utc_second(utc_ns).strftime("%Y-%m-%d")


def _limited(wanted: float, budget: int) -> float:
    return min(wanted, float(budget)) if budget else wanted


def _int64_array() -> array[int]:
    return array("q")
