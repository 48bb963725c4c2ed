"""The gate on answers: every question in every slice of the test set, compared with the model in the field.

A question is a task's decision, or one of its other heads. A candidate and its parent answer the same frozen scenes
and are compared scene by scene with McNemar's exact test, which detects differences that two intervals would hide.
Holm's method keeps the probability that any of the many comparisons is wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fleetloop.domain.rates import wilson_interval
from fleetloop.domain.tasks import TaskSchema
from perception.evaluate import Correct
from perception.examination.statistics import decidable_with, holm, p_first_is_better
from perception.examination.verdict import Undecided, Verdict, undecided_text


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
        return Verdict(False, [*reasons, *undecided_text(undecided)], tuple(undecided))
    count = len({question for question, *_ in found})
    return Verdict(True, [f"First model; better than chance at {count} questions in every plain slice."])


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which conditions the scenes are, and what is right to do in them."""

    truth: Correct
    """By question that is a decision: 1 where the car should act, 0 where not, NaN where that is unknown."""
    prefixes: tuple[str, ...] = ()
    """A slice whose name begins with one of them, such as night_, is under its conditions; the others share one."""

    def groups(self, slices: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
        """Which scenes are under each of the conditions."""
        names = np.array(slices, np.str_)
        under = {prefix: np.char.startswith(names, prefix) for prefix in self.prefixes}
        rest = ~np.logical_or.reduce([np.zeros(len(names), np.bool_), *under.values()])
        return {**under, "": rest}


KNOWN = 0.05
"""Largest p-value of Fisher's exact test with which a model counts as telling scenes apart."""


def knows(right: NDArray[np.float64], truth: NDArray[np.float64]) -> bool:
    """Whether a model acts more often where it should than where it should not, by more than chance.

    Args:
        right: [n] which decisions are correct, NaN where that is unknown.
        truth: [n] 1 where the car should act, 0 where not.
    """
    there = ~np.isnan(right) & ~np.isnan(truth)
    should = truth[there] == 1
    acts = np.where(right[there] == 1, should, ~should)
    hits = int((acts & should).sum())
    return bool(stats.hypergeom.sf(hits - 1, len(should), int(should.sum()), int(acts.sum())) <= KNOWN)


def _unlearned(
    right: Correct, parent_right: Correct, slices: Sequence[str], conditions: Conditions
) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Scenes by question and condition of which the model in the field knew nothing, and the candidate does."""
    return {
        (question, name): chosen
        for question, truth in conditions.truth.items()
        if question in right and question in parent_right
        for name, chosen in conditions.groups(slices).items()
        if len(set(truth[chosen & ~np.isnan(truth)].tolist())) == 2
        if knows(right[question][chosen], truth[chosen]) and not knows(parent_right[question][chosen], truth[chosen])
    }


def examine(
    right: Correct,
    parent_right: Correct,
    slices: Sequence[str],
    plain: Sequence[str],
    error: float,
    conditions: Conditions | None = None,
) -> Verdict:
    """A later model passes if it lost nothing, and gained at some question in the rare slices together.

    What was lost or gained is what is significant among all comparisons of its kind. A slice with too few scenes for
    any loss to be significant is undecided.

    What was never known is not lost: a model that never stops at night is right wherever nothing is to be done, and
    no model that learns to see could replace it. Under conditions in which the model in the field tells nothing apart
    and the candidate does, its slices are therefore not compared.

    Args:
        right: The candidate's correct answers by question.
        parent_right: Those of the model in the field, of the same scenes.
        slices: Slice of each scene.
        plain: Slices that are not rare.
        error: Probability that a model which lost nothing is refused, and that one which gained nothing passes.
        conditions: Under which a decision may be unknown; None to compare every slice.
    """
    unlearned = {} if conditions is None else _unlearned(right, parent_right, slices, conditions)
    new = {
        (question, slices[row])
        for (question, _), chosen in unlearned.items()
        for row in np.flatnonzero(chosen).tolist()
    }
    compared = [
        each
        for question in right
        if question in parent_right
        for name in sorted(set(slices))
        if (question, name) not in new
        if len((each := _compared(question, name, right, parent_right, np.array(slices) == name)).now)
    ]
    decidable = decidable_with(len(compared), error)
    undecided = [
        Undecided(each.question, each.slice, len(each.now), decidable - len(each.now))
        for each in compared
        if len(each.now) < decidable
    ]
    decided = [each for each in compared if len(each.now) >= decidable]
    if not decided:
        return Verdict(
            False, ["Nothing to examine: no slice has enough scenes.", *undecided_text(undecided)], tuple(undecided)
        )
    worse = {each: p_first_is_better(each.before, each.now) for each in decided}
    lost = holm(worse, error)
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
    gained = holm({each: p_first_is_better(each.now, each.before) for each in together}, error)
    reasons += [f"{each.question} improved in the rare slices: {_change(each)}." for each in gained]
    if not gained:
        shown = "; ".join(f"{each.question} {_change(each)}" for each in together) or "there are none"
        reasons.append(f"Nothing improved in the rare slices: {shown}.")
    reasons += [
        f"Nothing could be lost in {question}{f' of {name}*' if name else ''}: the model in the field knew nothing."
        for question, name in unlearned
    ]
    return Verdict(not lost and bool(gained), [*reasons, *undecided_text(undecided)], tuple(undecided))


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


def _percent(correct: NDArray[np.float64]) -> str:
    return f"{100 * correct.mean():.1f} %" if len(correct) else "none"
