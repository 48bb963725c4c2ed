"""The evaluation of a model: metrics by slice with their intervals, and the verdict whether it may be released.

A candidate and its parent answer the same frozen scenes. They are compared scene by scene with McNemar's exact test,
which detects differences that two separate intervals would hide.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleetloop.domain.rates import wilson_interval
from fleetloop.domain.run_folder import Metric
from fleetloop.domain.tasks import TaskSchema

RARE, ALL = "rare", "all"
SIGNIFICANT = 0.05
Outputs = Mapping[str, NDArray[np.float32]]
"""Activated outputs [n, width] by schema column."""
Correct = Mapping[str, NDArray[np.float64]]
"""[n] by task: 1 for a correct answer, 0 for a wrong one, NaN where the right answer is unknown."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the model passed, with the reasons as sentences."""

    passed: bool
    reasons: list[str]


def decisions(schema: TaskSchema, values: Outputs, threshold: float = 0.5) -> dict[str, NDArray[np.bool_]]:
    """Return [n] by task: True where the car would act. Accepts targets as well as outputs; unknown targets do
    not act.
    """
    return {
        task.name: np.all([values[f"{task.name}.{name}"][:, 0] > threshold for name in task.decision], axis=0)
        for task in schema.tasks
        if task.decision
    }


def correct_answers(schema: TaskSchema, outputs: Outputs, targets: Outputs) -> Correct:
    """Return for each scene whether a task's decision, or its class if it has no decision, is correct."""
    answers: dict[str, NDArray[np.float64]] = {}
    predicted, actual = decisions(schema, outputs), decisions(schema, targets)
    for task in schema.tasks:
        first = f"{task.name}.{task.decision[0] if task.decision else task.heads[0].name}"
        known = ~np.isnan(targets[first][:, 0])
        if task.decision:
            correct = predicted[task.name] == actual[task.name]
        elif task.heads[0].kind == "categorical":
            correct = outputs[first].argmax(1) == targets[first][:, 0]
        else:
            continue
        answers[task.name] = np.where(known, correct.astype(np.float64), np.nan)
    return answers


def metrics(
    schema: TaskSchema, outputs: Outputs, targets: Outputs, slices: Sequence[str], plain: Sequence[str]
) -> list[Metric]:
    """Compute `recall` by slice and over all rare slices, and `accuracy`, `recall` and `precision` over all scenes.

    Args:
        schema: The task schema.
        outputs: Activated outputs by column.
        targets: The right answers by column; NaN is unknown.
        slices: Slice of each scene.
        plain: Slices that are not rare.
    """
    predicted, actual = decisions(schema, outputs), decisions(schema, targets)
    names = np.array(slices)
    found: list[Metric] = []
    for task, correct in correct_answers(schema, outputs, targets).items():
        known = ~np.isnan(correct)
        found += [_share(task, name, "recall", correct[known & (names == name)]) for name in sorted(set(slices))]
        found.append(_share(task, RARE, "recall", correct[known & ~np.isin(names, list(plain))]))
        found.append(_share(task, ALL, "accuracy", correct[known]))
        if task in predicted:
            found.append(_share(task, ALL, "recall", predicted[task][known & actual[task]]))
            found.append(_share(task, ALL, "precision", actual[task][known & predicted[task]]))
    return [metric for metric in found if metric.samples]


def decide_verdict(
    task: str, right: Correct, parent_right: Correct | None, slices: Sequence[str], plain: Sequence[str]
) -> Verdict:
    """Decide whether a model passed.

    A first model passes if every plain slice is better than chance. A later model passes if no plain slice is
    significantly worse than the parent's and the rare slices together are significantly better.
    """
    names = np.array(slices)
    now = right[task]
    reasons, passed = [], True
    if parent_right is None:
        for name in [name for name in plain if name in set(slices)]:
            metric = _share(task, name, "recall", now[(names == name) & ~np.isnan(now)])
            if metric.low <= 0.5:
                passed = False
                too_few = wilson_interval(metric.samples, metric.samples)[0] <= 0.5
                few = ", too few scenes to decide" if too_few else ""
                reasons.append(f"{_describe(metric)}, not better than chance{few}.")
        return Verdict(passed, reasons or [f"First model; every plain slice is better than chance: {_plain(plain)}."])
    before = parent_right[task]
    for name in [name for name in plain if name in set(slices)]:
        chosen = (names == name) & ~np.isnan(now) & ~np.isnan(before)
        p_worse = _mcnemar_p(before[chosen], now[chosen])
        if p_worse < SIGNIFICANT:
            passed = False
            reasons.append(
                f"Slice {name} got worse: {_percent(before[chosen])} to {_percent(now[chosen])} of "
                f"{int(chosen.sum())} scenes, p {p_worse:.3f}."
            )
    rare = ~np.isin(names, list(plain)) & ~np.isnan(now) & ~np.isnan(before)
    p_better = _mcnemar_p(now[rare], before[rare])
    change = f"{_percent(before[rare])} to {_percent(now[rare])} of {int(rare.sum())} rare scenes"
    if p_better < SIGNIFICANT:
        reasons.append(f"Rare slices improved: {change}, p {p_better:.2g}.")
    else:
        passed = False
        reasons.append(f"Rare slices did not improve: {change}, p {p_better:.2g}.")
    return Verdict(passed, reasons)


def _mcnemar_p(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Return McNemar's exact one-sided p-value that `left` is correct more often than `right` only by chance."""
    # Only scenes on which the two differ carry information; under the null hypothesis each is a coin toss.
    gained, lost = int(((left == 1) & (right == 0)).sum()), int(((left == 0) & (right == 1)).sum())
    total = gained + lost
    return float(sum(math.comb(total, k) for k in range(gained, total + 1)) / 2**total)


def _share(task: str, slice_name: str, name: str, correct: NDArray[np.float64] | NDArray[np.bool_]) -> Metric:
    hits, samples = int(correct.sum()), len(correct)
    low, high = wilson_interval(hits, samples)
    value = hits / samples if samples else 0.0
    return Metric(task=task, slice=slice_name, name=name, value=value, low=low, high=high, samples=samples)


def _percent(correct: NDArray[np.float64]) -> str:
    return f"{100 * correct.mean():.1f} %" if len(correct) else "none"


def _describe(metric: Metric) -> str:
    interval = f"{100 * metric.low:.0f} to {100 * metric.high:.0f} %"
    return f"Slice {metric.slice}: {100 * metric.value:.1f} % of {metric.samples} scenes correct ({interval})"


def _plain(plain: Sequence[str]) -> str:
    return ", ".join(plain)
