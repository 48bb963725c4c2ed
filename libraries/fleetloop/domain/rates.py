"""Counts and rates with their uncertainty: interventions per distance, shares of samples.

The Poisson and binomial computations are exact, because the events of interest are rare and approximations fail for
small counts. Sources: Garwood 1936 for the Poisson interval, Przyborowski and Wilenski 1940 for comparing two rates,
Wilson 1927 for a share.
"""

from __future__ import annotations

import math
from collections.abc import Callable

# The 97.5th percentile of the normal distribution, for a two-sided 95 % interval.
_Z_95 = 1.959963984540054


def poisson_interval(events: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Garwood's exact interval of a Poisson mean after `events` were counted."""
    tail = (1 - confidence) / 2
    low = 0.0 if events == 0 else _solve(lambda mean: 1 - _poisson_cdf(events - 1, mean) - tail, 0.0, events + 1.0)
    # Ten standard deviations and ten events above the count: beyond the upper bound for any usual confidence.
    top = events + 10 + 10 * math.sqrt(events + 1)
    return low, _solve(lambda mean: tail - _poisson_cdf(events, mean), float(events), top)


def rate_interval(events: int, exposure: float) -> tuple[float, float]:
    """Return the 95 % interval of events per unit of exposure; (0, inf) without exposure."""
    if exposure <= 0:
        return 0.0, math.inf
    low, high = poisson_interval(events)
    return low / exposure, high / exposure


def p_rate_is_higher(events: int, exposure: float, other_events: int, other_exposure: float) -> float:
    """Return the one-sided p-value of the null hypothesis "the first rate is no higher than the second".

    Given the total number of events, the first side's events are binomial, with its share of the exposure as
    probability. The p-value is 1 without events, or when either exposure is zero.
    """
    total = events + other_events
    if total == 0 or exposure <= 0 or other_exposure <= 0:
        return 1.0
    share = exposure / (exposure + other_exposure)
    return min(1.0, sum(_binomial(total, k, share) for k in range(events, total + 1)))


def wilson_interval(hits: int, samples: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the share `hits` / `samples`; (0, 1) without samples."""
    if samples == 0:
        return 0.0, 1.0
    share, z2 = hits / samples, _Z_95**2
    middle = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    half = _Z_95 * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples**2)) / (1 + z2 / samples)
    return max(0.0, middle - half), min(1.0, middle + half)


def _binomial(n: int, k: int, p: float) -> float:
    """Return the probability of `k` hits in `n` trials, by logarithms so that the coefficient cannot overflow."""
    if p in (0.0, 1.0):
        return float(k == n * p)
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + k * math.log(p) + (n - k) * math.log1p(-p))


def _poisson_cdf(events: int, mean: float) -> float:
    if mean <= 0:
        return 1.0
    return min(1.0, sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(events + 1)))


def _solve(rising: Callable[[float], float], low: float, high: float) -> float:
    """Return the root of an increasing function between `low` and `high`, by bisection."""
    for _ in range(100):  # halves the interval to below a float's precision
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
