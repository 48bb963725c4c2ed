"""Counts and rates with their uncertainty: interventions per distance, shares of samples.

Exact where counts are small, because rare events are what this project is about. Sources: Garwood 1936 for the
Poisson interval, Przyborowski and Wilenski 1940 for comparing two rates, Wilson 1927 for a share.
"""

from __future__ import annotations

import math
from collections.abc import Callable

_Z_95 = 1.959963984540054


def poisson_interval(events: int, confidence: float = 0.95) -> tuple[float, float]:
    """Garwood's exact interval of a Poisson mean after `events` were counted."""
    tail = (1 - confidence) / 2
    low = 0.0 if events == 0 else _solve(lambda mean: 1 - _poisson_cdf(events - 1, mean) - tail, 0.0, events + 1.0)
    top = events + 10 + 10 * math.sqrt(events + 1)
    return low, _solve(lambda mean: tail - _poisson_cdf(events, mean), float(events), top)


def rate_interval(events: int, exposure: float) -> tuple[float, float]:
    """The 95 % interval of events per unit of exposure; (0, inf) when there was none."""
    if exposure <= 0:
        return 0.0, math.inf
    low, high = poisson_interval(events)
    return low / exposure, high / exposure


def p_rate_is_higher(events: int, exposure: float, other_events: int, other_exposure: float) -> float:
    """One-sided p-value against "the first rate is no higher than the second".

    Given all events together, the first side's share is binomial with its share of the exposure. 1 when either
    exposure is zero: nothing can be said.
    """
    total = events + other_events
    if total == 0 or exposure <= 0 or other_exposure <= 0:
        return 1.0
    share = exposure / (exposure + other_exposure)
    return min(1.0, sum(_binomial(total, k, share) for k in range(events, total + 1)))


def wilson_interval(hits: int, samples: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; (0, 1) without samples."""
    if samples == 0:
        return 0.0, 1.0
    share, z2 = hits / samples, _Z_95**2
    middle = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    half = _Z_95 * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples**2)) / (1 + z2 / samples)
    return max(0.0, middle - half), min(1.0, middle + half)


def _binomial(n: int, k: int, p: float) -> float:
    if p in (0.0, 1.0):
        return float(k == n * p)
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log + k * math.log(p) + (n - k) * math.log1p(-p))


def _poisson_cdf(events: int, mean: float) -> float:
    if mean <= 0:
        return 1.0
    return min(1.0, sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(events + 1)))


def _solve(rising: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(100):
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
