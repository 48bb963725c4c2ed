"""The evaluation of a model: which answers are correct, and metrics by slice with their intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fleetloop.domain.rates import wilson_interval
from fleetloop.domain.run_folder import Metric
from fleetloop.domain.tasks import Head, TaskSchema

RARE, ALL = "rare", "all"
Outputs = Mapping[str, NDArray[np.float32]]
"""Activated outputs [n, width] by schema column."""
Correct = Mapping[str, NDArray[np.float64]]
"""[n] by question: 1 for a correct answer, 0 for a wrong one, NaN where the right answer is unknown."""


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
    """Return for each scene whether each question is answered correctly.

    The questions are each task's decision, by the task's name, and every other head, as `task.head`; a task of one
    head has only its name. A label with several classes is correct if all of them are, a scalar if it is off by at
    most a tenth of its scale.
    """
    answers: dict[str, NDArray[np.float64]] = {}
    predicted, actual = decisions(schema, outputs), decisions(schema, targets)
    for task in schema.tasks:
        if task.decision:
            first = f"{task.name}.{task.decision[0]}"
            known = ~np.isnan(targets[first][:, 0])
            agree = np.equal(predicted[task.name], actual[task.name])
            answers[task.name] = np.where(known, agree.astype(np.float64), np.nan)
        for head in task.heads:
            if head.name in task.decision:
                continue
            column = f"{task.name}.{head.name}"
            answered = ~np.any(np.isnan(targets[column]), axis=1)
            right = _is_correct(head, outputs[column], targets[column])
            name = task.name if len(task.heads) == 1 else column
            answers[name] = np.where(answered, right.astype(np.float64), np.nan)
    return answers


SCALAR_TOLERANCE = 0.1
"""A scalar is correct within this share of its scale."""


def _is_correct(head: Head, output: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[n]: whether a head's activated output is correct, wherever the target is known."""
    if head.kind == "categorical":
        return np.asarray(output.argmax(1) == target[:, 0])
    if head.kind == "scalar":
        return np.asarray(np.abs(output[:, 0] - target[:, 0]) <= SCALAR_TOLERANCE * head.scale)
    return np.asarray(((output > 0.5) == (target > 0.5)).all(1), np.bool_)


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


def _share(task: str, slice_name: str, name: str, correct: NDArray[np.float64] | NDArray[np.bool_]) -> Metric:
    hits, samples = int(correct.sum()), len(correct)
    low, high = wilson_interval(hits, samples)
    value = hits / samples if samples else 0.0
    return Metric(task=task, slice=slice_name, name=name, value=value, low=low, high=high, samples=samples)
