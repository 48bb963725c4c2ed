"""The gate on probabilities: what a model says with 80 % probability should be right in 80 % of the scenes.

Triggers and the autopilot act on probabilities, so that a model whose answers are right and whose probabilities are
wrong does harm that no count of answers shows. The calibration error is the mean difference between probability and
frequency over bins (Naeini, Cooper and Hauskrecht 2015) of equally many answers (Nguyen and O'Connor 2015).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fleetloop.domain.tasks import TaskSchema
from perception.evaluate import Outputs
from perception.examination.plan import Calibration
from perception.examination.statistics import holm
from perception.examination.verdict import Verdict

BINS = 10
LEAST = 5 * BINS
"""Least number of answers from which a calibration error is computed."""
_RESAMPLES = 200


@dataclass(frozen=True, slots=True, eq=False)
class Stated:
    """What a model said of one output, and what was right."""

    probability: NDArray[np.float64]
    truth: NDArray[np.float64]
    """[n] each: 1 where it is so, else 0."""
    scene: NDArray[np.int64]
    """[n]: the scene of each. A label of several classes has several answers in a scene."""


def stated(schema: TaskSchema, outputs: Outputs, targets: Outputs) -> dict[str, Stated]:
    """The probabilities of every output that has some, where the right answer is known.

    Of a categorical head it is the probability of the most probable class, and whether that class is right.
    """
    found = {}
    for column, (task, head) in schema.columns().items():
        output, target = outputs[column].astype(np.float64), targets[column].astype(np.float64)
        known = ~np.isnan(target).any(1)
        if head.given is not None:
            known &= targets[f"{task.name}.{head.given}"][:, 0] == 1
        scenes = np.flatnonzero(known)
        if head.kind == "scalar":
            continue
        if head.kind == "categorical":
            found[column] = Stated(
                output[known].max(1), (output[known].argmax(1) == target[known, 0]).astype(np.float64), scenes
            )
        else:
            found[column] = Stated(output[known].ravel(), target[known].ravel(), np.repeat(scenes, output.shape[1]))
    return found


def calibration_error(probability: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """The mean difference between probability and frequency, 0 to 1, over bins of equally many answers."""
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, BINS)
    return float(
        sum(len(part) * abs(probability[part].mean() - truth[part].mean()) for part in bins if len(part)) / len(order)
    )


def examine_calibration(
    before: Mapping[str, Stated], now: Mapping[str, Stated], plan: Calibration, error: float, seed: int
) -> Verdict:
    """A model passes if no calibration error grew by more than the margin.

    Scenes are drawn again to learn how uncertain the difference is (bootstrap), the same for both models.

    Args:
        before: What the model in the field said.
        now: What the candidate said of the same scenes.
        plan: The margin.
        error: Probability that a model is refused whose errors grew by no more than the margin.
        seed: Of the draws.
    """
    both = {
        column: (before[column], now[column])
        for column in now
        if column in before and len(now[column].truth) >= LEAST
    }
    if not both:
        return Verdict(False, [f"Nothing to examine: no output has {LEAST} answers."])
    errors = {
        column: tuple(calibration_error(each.probability, each.truth) for each in pair)
        for column, pair in both.items()
    }
    p_values = {
        column: _p_growth_is_small(old, new, errors[column][1] - errors[column][0], plan.margin, seed)
        for column, (old, new) in both.items()
    }
    grown = holm(p_values, error)
    reasons = [
        f"{column}: the calibration error grew from {100 * errors[column][0]:.1f} to {100 * errors[column][1]:.1f} "
        f"points, by more than {100 * plan.margin:g}."
        for column in grown
    ]
    if grown:
        return Verdict(False, reasons)
    worst = max(errors, key=lambda column: errors[column][1])
    return Verdict(True, [f"The largest calibration error is {100 * errors[worst][1]:.1f} points, of {worst}."])


def _p_growth_is_small(old: Stated, new: Stated, growth: float, margin: float, seed: int) -> float:
    """p-value of "the calibration error grew by no more than the margin"."""
    rng = np.random.default_rng(seed)
    scenes, position = np.unique(new.scene, return_inverse=True)
    drawn = []
    for _ in range(_RESAMPLES):
        weights = rng.multinomial(len(scenes), np.full(len(scenes), 1 / len(scenes)))[position]
        rows = np.repeat(np.arange(len(position)), weights)
        drawn.append(
            calibration_error(new.probability[rows], new.truth[rows])
            - calibration_error(old.probability[rows], old.truth[rows])
        )
    deviation = float(np.std(drawn))
    if deviation == 0:
        return float(growth <= margin)
    return float(special.ndtr(-(growth - margin) / deviation))
