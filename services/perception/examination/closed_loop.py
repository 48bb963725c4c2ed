"""The gate on driving: candidate and model in the field drive the same roads, and are compared stretch by stretch.

A model that answers single scenes well may still flicker, answer late or be misled by what its own stops show it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from perception.examination.statistics import decidable_with, holm, p_first_is_better
from perception.examination.verdict import Verdict


class Event(StrEnum):
    """What can happen in a stretch of road, the worst first."""

    MISSED_STOP = "missed stops"
    """The person braked, because the car would have run a stop."""
    NEEDLESS_STOP = "needless stops"
    """The person accelerated, because the car stopped for nothing."""
    HARSH_BRAKING = "harsh braking"
    """The autopilot braked harder than is comfortable."""


AS_BAD_AS = {
    "missed stops": frozenset({Event.MISSED_STOP}),
    "takeovers": frozenset({Event.MISSED_STOP, Event.NEEDLESS_STOP}),
    "takeovers or harsh braking": frozenset(Event),
}
"""Each includes what is worse: braking harshly for a sign is better than running it, and no loss."""


_PROGRESS = "progress"
BEHIND = 0.8
"""A vehicle falls behind that comes less far than this share of the way of the other."""


@dataclass(frozen=True, slots=True)
class Road:
    """What happened on the road with one model."""

    events: Mapping[tuple[int, int], frozenset[Event]]
    """By vehicle and stretch, also of stretches without any."""
    autopilot_km: float


def examine_drives(before: Road, now: Road, error: float) -> Verdict:
    """A model passes if nothing as bad happens in more stretches than with the model in the field, for each degree,
    and its vehicles do not fall behind.

    Only stretches that both reached are compared, with McNemar's exact test. A vehicle that stands where it need not
    reaches fewer, and nothing happens to it; so its way is compared too.

    Args:
        before: The road with the model in the field.
        now: The same road with the candidate.
        error: Probability that a model is refused that drives as well.
    """
    both = sorted(before.events.keys() & now.events.keys())
    if not both:
        return Verdict(False, ["Nothing to examine: there is no stretch of road that both models drove."])
    clean = {
        name: tuple(np.array([not road.events[where] & kind for where in both], np.float64) for road in (before, now))
        for name, kind in AS_BAD_AS.items()
    }
    p_values = {name: p_first_is_better(old, new) for name, (old, new) in clean.items()}
    if len(both) < decidable_with(len(p_values), error):
        return Verdict(False, [f"Nothing to examine: {len(both)} stretches of road cannot show any loss."])
    behind = _falls_behind(before, now)
    p_values[_PROGRESS] = p_first_is_better(behind, 1 - behind)
    counts = {name: tuple(int((each == 0).sum()) for each in pair) for name, pair in clean.items()}
    shown = ", ".join(f"{name} {old} to {new}" for name, (old, new) in counts.items())
    driven = f"of {len(both)} stretches that both drove ({before.autopilot_km:.1f} and {now.autopilot_km:.1f} km)"
    worse = holm(p_values, error)
    reasons = [
        f"{int(behind.sum())} of {len(behind)} vehicles fall behind on the same roads, p {p_values[name]:.2g}."
        if name == _PROGRESS
        else f"More {name} on the same roads: in {counts[name][0]} to {counts[name][1]} {driven}, "
        f"p {p_values[name]:.2g}."
        for name in worse
    ]
    return Verdict(not worse, reasons or [f"Drives as well on the same roads: {shown} {driven}."])


def _falls_behind(before: Road, now: Road) -> NDArray[np.float64]:
    """By vehicle: 1 if it falls behind with the candidate, 0 if with the model in the field; others are left out."""
    ways = [Counter(vehicle for vehicle, _ in road.events) for road in (before, now)]
    pairs = [(ways[0][vehicle], ways[1][vehicle]) for vehicle in sorted(ways[0].keys() | ways[1].keys())]
    return np.array(
        [float(new < BEHIND * old) for old, new in pairs if new < BEHIND * old or old < BEHIND * new], np.float64
    )
