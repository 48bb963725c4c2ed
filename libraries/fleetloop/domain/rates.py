"""Counts and rates with their uncertainty: interventions per distance, shares of samples.

The Poisson and binomial computations are exact, because the events of interest are rare and approximations fail for
small counts. Sources: Garwood 1936 for the Poisson interval, Przyborowski and Wilenski 1940 for comparing two rates,
Clopper and Pearson 1934 and, as an approximation, Wilson 1927 for a share. Each takes the same time for any count:
the sums over all smaller counts are values of the incomplete gamma and beta functions, which SciPy computes.
"""

from __future__ import annotations

import functools
import math

from scipy import special

# The 97.5th percentile of the normal distribution, for a two-sided 95 % interval.
_Z_95 = 1.959963984540054


def poisson_interval(events: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Garwood's exact interval of a Poisson mean after `events` were counted."""
    tail = (1 - confidence) / 2
    low = 0.0 if events == 0 else float(special.gammaincinv(events, tail))
    return low, float(special.gammainccinv(events + 1, tail))


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
    return 1.0 if events == 0 else float(special.betainc(events, other_events + 1, share))


@functools.lru_cache(maxsize=8192)
def share_interval(hits: int, samples: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Clopper and Pearson's exact interval of the share `hits` / `samples`; (0, 1) without samples."""
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(special.betaincinv(hits, samples - hits + 1, tail))
    high = 1.0 if hits == samples else float(special.betaincinv(hits + 1, samples - hits, 1 - tail))
    return low, high


def wilson_interval(hits: int, samples: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the share `hits` / `samples`; (0, 1) without samples."""
    if samples == 0:
        return 0.0, 1.0
    share, z2 = hits / samples, _Z_95**2
    middle = (share + z2 / (2 * samples)) / (1 + z2 / samples)
    half = _Z_95 * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples**2)) / (1 + z2 / samples)
    return max(0.0, middle - half), min(1.0, middle + half)
