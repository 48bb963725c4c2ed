"""The gate on cases: what the fleet once got wrong, was labelled, and must not get wrong again.

Every mined sample of the dataset stays a case forever. The cases of one trigger are a family, whatever the answer: a
model that never acts has all of those right in which nothing is to be done, and one that learns to see has not. A
candidate has seen them in training, as the model in the field has seen the older ones: the gate does not ask what a
model has learnt, but what it has lost.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from perception.evaluate import Correct
from perception.examination.statistics import decidable_with, holm, p_first_is_better
from perception.examination.verdict import Undecided, Verdict, undecided_text


def chosen_cases(groups: Sequence[str], most: int) -> NDArray[np.int64]:
    """The newest cases of each family, at most `most` of each, in the order of the dataset.

    Args:
        groups: Family of each sample, in the order in which they joined the dataset; empty for one that is no case.
        most: Cases per family, so that the gate takes no longer as the dataset grows.
    """
    families: dict[str, list[int]] = {}
    for row, family in enumerate(groups):
        if family:
            families.setdefault(family, []).append(row)
    return np.array(sorted(row for rows in families.values() for row in rows[-most:]), np.int64)


def examine_cases(before: Correct, now: Correct, families: Sequence[str], error: float) -> Verdict:
    """A model passes if it lost no family. A family with too few cases to tell is named as undecided.

    Args:
        before: Which answers of the model in the field are correct, by question.
        now: Those of the candidate, of the same cases.
        families: Family of each case.
        error: Probability that a model is refused that lost none.
    """
    names = np.array(families)
    compared = {
        (question, family): (before[question][known], now[question][known])
        for question in now
        if question in before
        for family in sorted(set(families))
        if (known := (names == family) & ~np.isnan(before[question]) & ~np.isnan(now[question])).any()
    }
    if not compared:
        return Verdict(True, ["There is no case yet: no trigger has brought in a sample."])
    least = decidable_with(len(compared), error)
    decided = {key: pair for key, pair in compared.items() if len(pair[0]) >= least}
    undecided = tuple(
        Undecided(question, family, len(pair[0]), least - len(pair[0]))
        for (question, family), pair in compared.items()
        if len(pair[0]) < least
    )
    p_values = {key: p_first_is_better(*pair) for key, pair in decided.items()}
    lost = holm(p_values, error)
    reasons = [
        f"{question} lost cases of {family}: {int(decided[question, family][0].sum())} to "
        f"{int(decided[question, family][1].sum())} of {len(decided[question, family][0])} right, "
        f"p {p_values[question, family]:.2g}."
        for question, family in lost
    ]
    kept = f"Lost no family of cases, of {len({family for _, family in decided})} that can be decided."
    return Verdict(not lost, [*(reasons or [kept]), *undecided_text(undecided)], undecided)
