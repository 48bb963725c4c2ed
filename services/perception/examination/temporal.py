"""The gate on time: flicker, how long a model takes to be right, and how often it stops being right.

Candidate and model in the field watch the same pictures of one drive, whose truth is known. A sequence is what one
vehicle sees of one street while the right decision stays the same.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from perception.examination.statistics import decidable_with, holm, p_first_is_better
from perception.examination.verdict import Verdict

Right = NDArray[np.bool_]
"""[pictures] of one sequence: whether the decision is right."""
LEAST_PICTURES = 3
"""A shorter sequence says nothing about time."""


def flicker(right: Right) -> int:
    """How often a decision changes while the right one does not; becoming right for the first time is no flicker."""
    changes = int((right[1:] != right[:-1]).sum())
    return max(0, changes - int(not right[0] and bool(right.any())))


def time_to_decide(right: Right) -> int:
    """Pictures until the decision is right for the first time; all of them if it never is."""
    return int(right.argmax()) if right.any() else len(right)


def lost(right: Right) -> int:
    """Pictures with a wrong decision after a right one."""
    return int((~right[time_to_decide(right) :]).sum())


MEASURES: Mapping[str, tuple[Callable[[Right], int], str]] = {
    "flicker": (flicker, "flickers more"),
    "time": (time_to_decide, "is right later"),
    "lost": (lost, "stops being right more often"),
}


def sequences_in(where: Sequence[str], actual: NDArray[np.float64], decided: NDArray[np.bool_]) -> list[Right]:
    """Divide what one vehicle saw, picture by picture, into sequences.

    Args:
        where: Name of the street at each picture.
        actual: [pictures] the right decision, 0 or 1, NaN where it is unknown.
        decided: [pictures] what the model decided.
    """
    found: list[Right] = []
    start = 0
    for end in range(1, len(where) + 1):
        if end < len(where) and where[end] == where[start] and actual[end] == actual[start]:
            continue
        if not np.isnan(actual[start]) and end - start >= LEAST_PICTURES:
            found.append(decided[start:end] == (actual[start] == 1))
        start = end
    return found


def examine_sequences(
    before: Mapping[str, Sequence[Right]], now: Mapping[str, Sequence[Right]], error: float
) -> Verdict:
    """A model passes if no measure of any task got worse in significantly more sequences than it got better.

    A sequence counts against the model that has the worse measure only if it is not right in more pictures: one that
    never sees a sign does not flicker, and is not better for it.

    Args:
        before: By task, the sequences of the model in the field.
        now: Those of the candidate, of the same pictures.
        error: Probability that a model is refused that is as steady.
    """
    compared = {
        (task, name): tuple(np.array([measure(each) for each in run[task]], np.float64) for run in (before, now))
        for task in now
        if task in before and len(now[task])
        for name, (measure, _) in MEASURES.items()
    }
    most = max((len(old) for old, _ in compared.values()), default=0)
    if most < decidable_with(len(compared), error):
        return Verdict(False, [f"Nothing to examine: {most} sequences cannot show any loss."])
    gained = {
        task: np.array([int(two.sum()) - int(one.sum()) for one, two in zip(before[task], now[task], strict=True)])
        for task in {task for task, _ in compared}
    }
    counted = {
        (task, name): ((old < new) & (gained[task] <= 0), (new < old) & (gained[task] >= 0))
        for (task, name), (old, new) in compared.items()
    }
    p_values = {
        key: p_first_is_better(worse.astype(np.float64), better.astype(np.float64))
        for key, (worse, better) in counted.items()
    }
    lost_measures = holm(p_values, error)
    reasons = [
        f"{task} {MEASURES[name][1]}: worse in {int(counted[task, name][0].sum())} of {len(now[task])} sequences, "
        f"better in {int(counted[task, name][1].sum())}, p {p_values[task, name]:.2g}."
        for task, name in lost_measures
    ]
    return Verdict(not lost_measures, reasons or [f"As steady in time, in {most} sequences of {len(now)} tasks."])
