"""Whether a model passed: every question in every slice of the test set, compared with the model in the field.

A question is a task's decision, or one of its other heads. A candidate and its parent answer the same frozen scenes
and are compared scene by scene with McNemar's exact test (1947), which detects differences that two intervals would
hide. There are many comparisons, so Holm's method (1979) keeps the probability that any of them is wrong.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fleetloop.domain.rates import wilson_interval
from fleetloop.domain.tasks import TaskSchema
from perception.evaluate import Correct

T = TypeVar("T")
SIGNIFICANT = 0.05
"""Probability that a model which lost nothing is rejected, and that one which gained nothing passes."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """A question that too few scenes of a slice answer: it neither passes nor fails."""

    question: str
    slice: str
    scenes: int
    more: int
    """Scenes that are needed in addition."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the model passed, with the reasons as sentences."""

    passed: bool
    reasons: list[str]
    undecided: tuple[Undecided, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """One question in one slice."""

    question: str
    slice: str
    before: NDArray[np.float64]
    now: NDArray[np.float64]
    """[n] each: 1 for a correct answer, else 0."""


def chance_of(schema: TaskSchema, question: str) -> float | None:
    """The share of correct answers of a guess; None for a question to which it cannot be stated."""
    task_name, _, head_name = question.partition(".")
    task = next(each for each in schema.tasks if each.name == task_name)
    if not head_name and task.decision:
        return 0.5
    head = task.head(head_name) if head_name else task.heads[0]
    return {"binary": 0.5, "categorical": 1 / max(1, len(head.classes))}.get(head.kind)


def examine_first(schema: TaskSchema, right: Correct, slices: Sequence[str], plain: Sequence[str]) -> Verdict:
    """A first model passes if it is better than chance at every question that has one, in every plain slice.

    Args:
        schema: The task schema.
        right: Its correct answers by question.
        slices: Slice of each scene.
        plain: Slices that are not rare.
    """
    found = [
        (question, each, known, chance)
        for question, answers in right.items()
        if (chance := chance_of(schema, question)) is not None
        for each in sorted(set(slices) & set(plain))
        if len(known := _known(answers, slices, each))
    ]
    if not found:
        there = ", ".join(sorted(set(slices))) or "no scene"
        return Verdict(False, [f"Nothing to examine: the test set has {there}, and none of {', '.join(plain)}."])
    reasons, undecided = [], []
    for question, each, known, chance in found:
        low, high = wilson_interval(int(known.sum()), len(known))
        if low > chance:
            continue
        reasons.append(
            f"{question} in {each}: {_percent(known)} of {len(known)} scenes correct ({100 * low:.0f} to "
            f"{100 * high:.0f} %), not better than chance ({100 * chance:.0f} %)."
        )
        enough = next(n for n in range(1, 1000) if wilson_interval(n, n)[0] > chance)
        if len(known) < enough:
            undecided.append(Undecided(question, each, len(known), enough - len(known)))
    if reasons:
        return Verdict(False, [*reasons, *_said(undecided)], tuple(undecided))
    count = len({question for question, *_ in found})
    return Verdict(True, [f"First model; better than chance at {count} questions in every plain slice."])


def examine(right: Correct, parent_right: Correct, slices: Sequence[str], plain: Sequence[str]) -> Verdict:
    """A later model passes if it lost nothing, and gained at some question in the rare slices together.

    What was lost or gained is what is significant among all comparisons of its kind. A slice with too few scenes for
    any loss to be significant is undecided.

    Args:
        right: The candidate's correct answers by question.
        parent_right: Those of the model in the field, of the same scenes.
        slices: Slice of each scene.
        plain: Slices that are not rare.
    """
    compared = [
        each
        for question in right
        if question in parent_right
        for name in sorted(set(slices))
        if len((each := _compared(question, name, right, parent_right, np.array(slices) == name)).now)
    ]
    decidable = decidable_with(len(compared))
    undecided = [
        Undecided(each.question, each.slice, len(each.now), decidable - len(each.now))
        for each in compared
        if len(each.now) < decidable
    ]
    decided = [each for each in compared if len(each.now) >= decidable]
    if not decided:
        return Verdict(
            False, ["Nothing to examine: no slice has enough scenes.", *_said(undecided)], tuple(undecided)
        )
    worse = {each: p_first_is_better(each.before, each.now) for each in decided}
    lost = holm(worse)
    reasons = [
        f"{each.question} got worse in {each.slice}: {_percent(each.before)} to {_percent(each.now)} of "
        f"{len(each.now)} scenes, p {worse[each]:.2g}."
        for each in lost
    ]
    rare = ~np.isin(slices, list(plain))
    together = [
        each
        for question in right
        if question in parent_right
        if len((each := _compared(question, "rare", right, parent_right, rare)).now)
    ]
    gained = holm({each: p_first_is_better(each.now, each.before) for each in together})
    reasons += [f"{each.question} improved in the rare slices: {_change(each)}." for each in gained]
    if not gained:
        shown = "; ".join(f"{each.question} {_change(each)}" for each in together) or "there are none"
        reasons.append(f"Nothing improved in the rare slices: {shown}.")
    return Verdict(not lost and bool(gained), [*reasons, *_said(undecided)], tuple(undecided))


def holm(p_values: Mapping[T, float], error: float = SIGNIFICANT) -> list[T]:
    """The hypotheses that Holm's method rejects, most significant first."""
    rejected = []
    for number, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p > error / (len(p_values) - number):
            break
        rejected.append(key)
    return rejected


def decidable_with(comparisons: int, error: float = SIGNIFICANT) -> int:
    """Least number of scenes with which a loss of all of them would be significant among so many comparisons."""
    return math.ceil(math.log2(max(1, comparisons) / error))


def p_first_is_better(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """McNemar's exact one-sided p-value that `first` is correct more often than `second` only by chance."""
    # Only scenes on which the two differ carry information; under the null hypothesis each is a coin toss.
    gained, lost = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())
    return 1.0 if gained == 0 else float(special.betainc(gained, lost + 1, 0.5))


def _compared(
    question: str, name: str, right: Correct, parent_right: Correct, chosen: NDArray[np.bool_]
) -> _Compared:
    now, before = right[question], parent_right[question]
    known = chosen & ~np.isnan(now) & ~np.isnan(before)
    return _Compared(question, name, before[known], now[known])


def _known(answers: NDArray[np.float64], slices: Sequence[str], name: str) -> NDArray[np.float64]:
    chosen = answers[np.array(slices) == name]
    return chosen[~np.isnan(chosen)]


def _change(each: _Compared) -> str:
    p = p_first_is_better(each.now, each.before)
    return f"{_percent(each.before)} to {_percent(each.now)} of {len(each.now)} scenes, p {p:.2g}"


def _said(undecided: Sequence[Undecided]) -> list[str]:
    if not undecided:
        return []
    most = ", ".join(f"{each.question} in {each.slice} ({each.more} more scenes)" for each in undecided[:10])
    further = f", and {len(undecided) - 10} more" if len(undecided) > 10 else ""
    return [f"Not decided for want of scenes: {most}{further}."]


def _percent(correct: NDArray[np.float64]) -> str:
    return f"{100 * correct.mean():.1f} %" if len(correct) else "none"
