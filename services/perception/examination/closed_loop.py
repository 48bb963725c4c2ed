"""The gate on driving: candidate and model in the field drive the same roads, and are compared stretch by stretch.

A model that answers single scenes well may still flicker, answer late or be misled by what its own stops show it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

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


@dataclass(frozen=True, slots=True)
class Road:
    """What happened on the road with one model."""

    events: Mapping[tuple[int, int], frozenset[Event]]
    """By vehicle and stretch, also of stretches without any."""
    autopilot_km: float


def examine_drives(before: Road, now: Road, error: float) -> Verdict:
    """A model passes if nothing as bad happens in more stretches than with the model in the field, for each degree.

    Only stretches that both reached are compared, with McNemar's exact test.

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
    counts = {name: tuple(int((each == 0).sum()) for each in pair) for name, pair in clean.items()}
    shown = ", ".join(f"{name} {old} to {new}" for name, (old, new) in counts.items())
    driven = f"of {len(both)} stretches that both drove ({before.autopilot_km:.1f} and {now.autopilot_km:.1f} km)"
    worse = holm(p_values, error)
    reasons = [
        f"More {name} on the same roads: in {counts[name][0]} to {counts[name][1]} {driven}, p {p_values[name]:.2g}."
        for name in worse
    ]
    return Verdict(not worse, reasons or [f"Drives as well on the same roads: {shown} {driven}."])
