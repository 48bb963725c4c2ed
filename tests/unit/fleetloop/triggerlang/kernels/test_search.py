"""Searching rising instants."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetloop.triggerlang.kernels.search import upper_bound, upper_bounds

RISING = st.lists(st.integers(0, 50), max_size=12).map(sorted)


@settings(deadline=None)
@given(RISING, st.integers(-1, 51))
def test_the_upper_bound_is_that_of_numpy(times: list[int], t: int) -> None:
    array = np.array(times, np.int64)
    assert upper_bound(array, 0, len(times), t) == np.searchsorted(array, t, side="right")


@settings(deadline=None)
@given(RISING, RISING, st.integers(0, 20))
def test_many_upper_bounds_are_each_of_them(times: list[int], instants: list[int], shift: int) -> None:
    array, many = np.array(times, np.int64), np.array(instants, np.int64)
    out = np.zeros(len(many), np.int64)
    upper_bounds(array, 0, len(array), many, 0, len(many), shift, out)
    np.testing.assert_array_equal(out, np.searchsorted(array, many - shift, side="right"))


def test_only_a_part_of_both_lists_is_searched() -> None:
    times, instants = np.array([10, 20, 30, 40]), np.array([5, 10, 25, 25, 99])
    out = np.zeros(5, np.int64)
    upper_bounds(times, 1, 3, instants, 2, 5, 10, out)
    assert out.tolist() == [0, 0, 1, 1, 3]
