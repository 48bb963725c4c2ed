"""The examination: shares answered rightly per slice with their intervals, and whether a model may leave the house.

A candidate and its parent answer the same frozen scenes, so they are compared scene by scene (McNemar's exact test),
which sees differences that two separate intervals would hide.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fleetloop.domain.rates import wilson_interval
from fleetloop.domain.tasks import TaskSchema

RARE, ALL = "rare", "all"
SIGNIFICANT = 0.05
Outputs = Mapping[str, NDArray[np.float32]]
"""Schema column -> activated outputs [n, width]."""
Right = Mapping[str, NDArray[np.float64]]
"""Task -> [n]: 1 rightly answered, 0 wrongly, NaN where the answer is not known."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A share with its 95 % interval. `recall` of a slice: its scenes on which the car would do the right thing."""

    task: str
    slice: str
    name: str
    value: float
    low: float
    high: float
    samples: int

    def row(self) -> dict[str, object]:
        """As result.json has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the model passed, and why, in sentences."""

    passed: bool
    reasons: list[str]


def decisions(schema: TaskSchema, values: Outputs, threshold: float = 0.5) -> dict[str, NDArray[np.bool_]]:
    """Task -> [n]: the car would act. Targets work as well as outputs; unknown heads do not act."""
    return {
        task.name: np.all([values[f"{task.name}.{name}"][:, 0] > threshold for name in task.decision], axis=0)
        for task in schema.tasks
        if task.decision
    }


def rightly_answered(schema: TaskSchema, outputs: Outputs, targets: Outputs) -> Right:
    """Per scene: the decision of a task, or its class, is as it should be."""
    right: dict[str, NDArray[np.float64]] = {}
    said, wanted = decisions(schema, outputs), decisions(schema, targets)
    for task in schema.tasks:
        first = f"{task.name}.{task.decision[0] if task.decision else task.heads[0].name}"
        known = ~np.isnan(targets[first][:, 0])
        if task.decision:
            correct = said[task.name] == wanted[task.name]
        elif task.heads[0].kind == "categorical":
            correct = outputs[first].argmax(1) == targets[first][:, 0]
        else:
            continue
        right[task.name] = np.where(known, correct.astype(np.float64), np.nan)
    return right


def metrics(
    schema: TaskSchema, outputs: Outputs, targets: Outputs, slices: Sequence[str], plain: Sequence[str]
) -> list[Metric]:
    """`recall` per slice and over all rare ones, `accuracy`, `recall` and `precision` of each decision overall."""
    right = rightly_answered(schema, outputs, targets)
    said, wanted = decisions(schema, outputs), decisions(schema, targets)
    names = np.array(slices)
    found: list[Metric] = []
    for task, correct in right.items():
        known = ~np.isnan(correct)
        found += [_share(task, name, "recall", correct[known & (names == name)]) for name in sorted(set(slices))]
        found.append(_share(task, RARE, "recall", correct[known & ~np.isin(names, list(plain))]))
        found.append(_share(task, ALL, "accuracy", correct[known]))
        if task in said:
            found.append(_share(task, ALL, "recall", said[task][known & wanted[task]]))
            found.append(_share(task, ALL, "precision", wanted[task][known & said[task]]))
    return [metric for metric in found if metric.samples]


def judge(
    task: str, right: Right, parent_right: Right | None, slices: Sequence[str], plain: Sequence[str]
) -> Verdict:
    """First model: better than chance on every plain slice. Later ones: no plain slice worse, rare ones better."""
    names = np.array(slices)
    now = right[task]
    reasons, passed = [], True
    if parent_right is None:
        for name in [name for name in plain if name in set(slices)]:
            metric = _share(task, name, "recall", now[(names == name) & ~np.isnan(now)])
            if metric.low <= 0.5:
                passed = False
                few = ", too few scenes to tell" if wilson_interval(metric.samples, metric.samples)[0] <= 0.5 else ""
                reasons.append(f"{_said(metric)}, no better than chance{few}.")
        return Verdict(passed, reasons or [f"First model; every plain slice is better than chance: {_plain(plain)}."])
    before = parent_right[task]
    for name in [name for name in plain if name in set(slices)]:
        chosen = (names == name) & ~np.isnan(now) & ~np.isnan(before)
        p_worse = _p_more(before[chosen], now[chosen])
        if p_worse < SIGNIFICANT:
            passed = False
            reasons.append(
                f"Slice {name} got worse: {_percent(before[chosen])} to {_percent(now[chosen])} of "
                f"{int(chosen.sum())} scenes, p {p_worse:.3f}."
            )
    rare = ~np.isin(names, list(plain)) & ~np.isnan(now) & ~np.isnan(before)
    p_better = _p_more(now[rare], before[rare])
    change = f"{_percent(before[rare])} to {_percent(now[rare])} of {int(rare.sum())} rare scenes"
    if p_better < SIGNIFICANT:
        reasons.append(f"Rare slices improved: {change}, p {p_better:.2g}.")
    else:
        passed = False
        reasons.append(f"Rare slices did not improve: {change}, p {p_better:.2g}.")
    return Verdict(passed, reasons)


def _p_more(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """McNemar's exact one-sided p-value that `left` is right more often than `right` by chance alone."""
    gained, lost = int(((left == 1) & (right == 0)).sum()), int(((left == 0) & (right == 1)).sum())
    total = gained + lost
    return float(sum(math.comb(total, k) for k in range(gained, total + 1)) / 2**total)


def _share(task: str, slice_name: str, name: str, correct: NDArray[np.float64] | NDArray[np.bool_]) -> Metric:
    hits, samples = int(correct.sum()), len(correct)
    low, high = wilson_interval(hits, samples)
    return Metric(task, slice_name, name, hits / samples if samples else 0.0, low, high, samples)


def _percent(correct: NDArray[np.float64]) -> str:
    return f"{100 * correct.mean():.1f} %" if len(correct) else "none"


def _said(metric: Metric) -> str:
    interval = f"{100 * metric.low:.0f} to {100 * metric.high:.0f} %"
    return f"Slice {metric.slice}: {100 * metric.value:.1f} % right of {metric.samples} ({interval})"


def _plain(plain: Sequence[str]) -> str:
    return ", ".join(plain)
