"""The ratio of percentiles with and without poison."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chaos.nemeses.poison import Latencies, percentile


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_with_at_least_that_share_not_above_it(values: list[float], percent: int) -> None:
    found = percentile(values, percent)
    assert found in values
    assert 100 * sum(each <= found for each in values) >= percent * len(values)
    assert 100 * sum(each < found for each in values) < percent * len(values)


def test_no_value_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="no batch"):
        percentile([], 99)


def test_the_ratio_says_how_many_times_slower_acknowledgements_are_with_poison() -> None:
    assert Latencies([0.1] * 100, [0.1] * 98 + [0.3, 0.3]).ratio() == pytest.approx(3.0)
