"""Comparisons that may be looked at as often as one likes, and stopped at any moment.

Each one multiplies up an e-process: a number that begins at 1 and, while its null hypothesis holds, reaches 1/alpha
at any time with a probability of at most alpha (Ville 1939). Its logarithm is called evidence here, in nats, so that
evidence of independent parts adds up. There is evidence against a candidate and evidence in its favour; having
neither is a result of its own, which more data can change.

Rates are compared as in Lindon and Malek, "Anytime-valid inference for multinomial count data" (NeurIPS 2022). Given
that a number of events happened in a stretch of time, the candidate's share of them depends only on the two exposures
and on the ratio of the two rates, whatever the rates were in that stretch. With one alternative, this is Wald's
sequential probability ratio test (1945), which needs the least exposure of all tests with the same errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest


@dataclass(frozen=True, slots=True)
class Drove:
    """What one vehicle did in a stretch of time in which two rates are compared."""

    candidate: bool
    """Whether it drove with the candidate; otherwise with what the candidate is compared with."""
    km: float
    events: int


@dataclass(frozen=True, slots=True)
class Score:
    """Evidence from one vehicle, nats."""

    against: float = 0.0
    in_favour: float = 0.0
    unguarded: float = 0.0
    """Evidence against, as if no vehicle could lie."""

    def __add__(self, other: Score) -> Score:
        return Score(self.against + other.against, self.in_favour + other.in_favour, self.unguarded + other.unguarded)


def needed(error: float) -> float:
    """Evidence, nats, at which a decision is wrong with at most this probability."""
    return math.log(1 / error)


def event_weight(km: float, other_km: float, ratio: float) -> float:
    """Evidence for `ratio` times the other's rate, against the same rate, from each event of the other. Below zero.

    An event of the candidate's has log(ratio) more.
    """
    together = km + other_km
    return 0.0 if together <= 0 else math.log(together / (ratio * km + other_km))


def compare_rates(drove: Sequence[Drove], ratio: float, tolerated: int = 0) -> list[Score]:
    """The evidence of each vehicle on whether the candidate's rate of events is `ratio` times the other's, or equal.

    The exposures are those that are worst for each side when up to `tolerated` vehicles are left out, so that
    `sum_of` with the same number is a lower bound for whichever vehicles those are.

    Args:
        drove: What each vehicle did in one stretch of time, under the same conditions.
        ratio: The ratio that counts as worse, above 1.
        tolerated: Number of vehicles that may have lied.
    """
    km = [each.km for each in drove if each.candidate]
    other_km = [each.km for each in drove if not each.candidate]
    exact = event_weight(sum(km), sum(other_km), ratio)
    against = event_weight(sum(km), _without(other_km, tolerated), ratio)
    in_favour = event_weight(_without(km, tolerated), sum(other_km), ratio)
    more = math.log(ratio)
    return [
        Score(
            each.events * (against + more if each.candidate else against),
            -each.events * (in_favour + more if each.candidate else in_favour),
            each.events * (exact + more if each.candidate else exact),
        )
        for each in drove
    ]


def _without(values: Sequence[float], count: int) -> float:
    return max(0.0, sum(values) - sum(nlargest(count, values)))


def sum_of(scores: Iterable[float], tolerated: int = 0) -> float:
    """Evidence of all vehicles together, without the `tolerated` vehicles that contribute the most."""
    values = list(scores)
    return sum(values) - sum(each for each in nlargest(tolerated, values) if each > 0)


def tolerated_of(vehicles: int, share: float) -> int:
    """How many of so many vehicles may lie without an effect on a decision."""
    return math.floor(vehicles * share + 1e-9)


BET = 0.5
"""Share of the evidence's stake on each decision. The best value depends on how often the two models differ, and is
close to one half for a difference in one of ten decisions.
"""


def compare_decisions(better: int, worse: int, equal: int, margin: float) -> Score:
    """Evidence from decisions that two models took in the same situations.

    Evidence against the candidate refutes "it is worse no more often than better"; evidence in its favour refutes
    "it is worse more often than better by at least `margin` of all decisions". Both are capital of a gambler who bets
    a fixed share on each decision (Waudby-Smith and Ramdas 2024).

    Args:
        better: Decisions in which only the candidate was right.
        worse: Decisions in which only the other was right.
        equal: Decisions in which both were right, or both wrong.
        margin: From 0 to 1.
    """
    against = worse * math.log1p(BET) + better * math.log1p(-BET)
    in_favour = (
        worse * math.log1p(BET * (margin - 1))
        + better * math.log1p(BET * (margin + 1))
        + equal * math.log1p(BET * margin)
    )
    return Score(against, in_favour, against)


_POWER_Z = 1.2815515655446004
"""The 90th percentile of the normal distribution."""


def km_needed(rate_per_km: float, share: float, ratio: float, error: float, *, really: float = 1.0) -> float:
    """Distance, km, that the candidate has to drive until nine of ten comparisons are decided.

    Wald's expectation with the variance of the evidence; infinite where no event is to be expected.

    Args:
        rate_per_km: The other's events per km.
        share: The candidate's share of the distance, between 0 and 1.
        ratio: The ratio that counts as worse.
        error: Probability of a wrong decision.
        really: The true ratio of the rates, 1 for an equal candidate and `ratio` for a bad one.
    """
    mean, variance = _drift(rate_per_km, share, ratio, really)
    if mean <= 0:
        return math.inf
    spread = _POWER_Z * math.sqrt(variance)
    return ((spread + math.sqrt(spread**2 + 4 * mean * needed(error))) / (2 * mean)) ** 2


def wald_km(rate_per_km: float, share: float, ratio: float, error: float, *, really: float = 1.0) -> float:
    """The mean distance, km, that no test with this error can undercut (Wald 1945, without the other error)."""
    mean, _ = _drift(rate_per_km, share, ratio, really)
    return needed(error) / mean if mean > 0 else math.inf


def _drift(rate_per_km: float, share: float, ratio: float, really: float) -> tuple[float, float]:
    """Mean and variance of the evidence per km of the candidate, for the side that is true."""
    weight = event_weight(share, 1 - share, ratio)
    sign = 1.0 if really > 1 else -1.0
    own, other = sign * (weight + math.log(ratio)), sign * weight
    own_rate, other_rate = really * rate_per_km, rate_per_km * (1 - share) / share
    return own_rate * own + other_rate * other, own_rate * own**2 + other_rate * other**2
