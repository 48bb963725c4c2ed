from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.domain.rates import p_rate_is_higher, poisson_interval, rate_interval, share_interval, wilson_interval


@pytest.mark.parametrize(
    ("events", "low", "high"),
    [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904), (100, 81.3640, 121.6272)],
)
def test_poisson_intervals_are_those_of_the_tables(events: int, low: float, high: float) -> None:
    # Garwood's intervals, as tabulated by e.g. Pearson and Hartley
    assert poisson_interval(events) == pytest.approx((low, high), abs=2e-3)


def test_without_exposure_nothing_is_known() -> None:
    assert rate_interval(0, 0) == (0.0, math.inf)
    assert p_rate_is_higher(5, 0, 1, 10) == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_a_clear_difference_is_told_and_a_small_one_is_not() -> None:
    assert p_rate_is_higher(20, 100, 2, 100) < 0.001
    assert p_rate_is_higher(3, 100, 2, 100) > 0.3


def test_comparing_rates_by_hand() -> None:
    # 3 events against none at equal exposure: (1/2)^3
    assert p_rate_is_higher(3, 50, 0, 50) == pytest.approx(0.125)


@given(st.integers(0, 400), st.floats(0.1, 1e4))
def test_intervals_hold_their_estimate(events: int, exposure: float) -> None:
    low, high = rate_interval(events, exposure)
    assert 0 <= low <= events / exposure <= high


@given(st.integers(0, 200), st.integers(0, 200))
def test_wilson_holds_the_share(hits: int, misses: int) -> None:
    low, high = wilson_interval(hits, hits + misses)
    share = hits / (hits + misses) if hits + misses else 0.5
    assert 0 <= low <= share + 1e-12 and share - 1e-12 <= high <= 1


@given(st.integers(0, 30), st.integers(0, 30), st.floats(1, 100), st.floats(1, 100))
def test_more_events_are_never_less_suspicious(events: int, other: int, km: float, other_km: float) -> None:
    assert p_rate_is_higher(events + 1, km, other, other_km) <= p_rate_is_higher(events, km, other, other_km) + 1e-9


@pytest.mark.parametrize(
    ("hits", "samples", "low", "high"), [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (9, 10, 0.5550, 0.9975)]
)
def test_exact_intervals_of_shares_are_those_of_the_tables(hits: int, samples: int, low: float, high: float) -> None:
    assert share_interval(hits, samples) == pytest.approx((low, high), abs=1e-4)
    assert share_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 40), st.integers(1, 40), st.sampled_from([0.9, 0.95, 0.99]))
def test_an_exact_interval_leaves_out_only_shares_under_which_the_count_is_rare(
    hits: int, more: int, confidence: float
) -> None:
    samples = hits + more
    _, high = share_interval(hits, samples, confidence)
    at_most = sum(math.comb(samples, n) * high**n * (1 - high) ** (samples - n) for n in range(hits + 1))
    assert at_most == pytest.approx((1 - confidence) / 2, rel=1e-6)
