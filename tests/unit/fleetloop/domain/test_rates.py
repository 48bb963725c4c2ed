from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetloop.domain.rates import p_rate_is_higher, poisson_interval, rate_interval, wilson_interval


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
