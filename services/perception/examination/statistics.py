"""The tests on which the gates decide: paired, one-sided, and corrected for their number.

Sources: McNemar 1947 for the exact test, Agresti and Min 2005 for the difference of two paired shares, Holm 1979 for
many tests at once.
"""

import math
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

T = TypeVar("T")
Answers = NDArray[np.float64]
"""[n]: 1 for a correct answer, 0 for a wrong one."""


def p_first_is_better(first: Answers, second: Answers) -> float:
    """McNemar's exact one-sided p-value that `first` is correct more often than `second` only by chance."""
    # Only scenes on which the two differ carry information; under the null hypothesis each is a coin toss.
    gained, lost = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())
    return 1.0 if gained == 0 else float(special.betainc(gained, lost + 1, 0.5))


def p_loss_is_small(before: Answers, now: Answers, margin: float) -> float:
    """One-sided p-value of "the share of correct answers fell by no more than `margin`".

    The normal approximation is Agresti and Min's for matched pairs, which adds half a pair to each of the four cells.
    """
    lost, gained = float(((before == 1) & (now == 0)).sum()) + 0.5, float(((before == 0) & (now == 1)).sum()) + 0.5
    total = len(before) + 2
    loss = (lost - gained) / total
    variance = (lost + gained - (lost - gained) ** 2 / total) / total**2
    return float(special.ndtr(-(loss - margin) / math.sqrt(variance)))


def holm(p_values: Mapping[T, float], error: float) -> list[T]:
    """The hypotheses that Holm's method rejects, most significant first.

    Args:
        p_values: The p-value of each.
        error: Probability that any true hypothesis is rejected.
    """
    rejected = []
    for number, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p > error / (len(p_values) - number):
            break
        rejected.append(key)
    return rejected


def decidable_with(comparisons: int, error: float) -> int:
    """Least number of scenes with which a loss of all of them would be significant among so many comparisons."""
    return math.ceil(math.log2(max(1, comparisons) / error))
