"""Rolling reductions against the plain definition, also for long windows, where another way is taken."""

from __future__ import annotations

import numpy as np
import pytest

from triggerlang import windows


def spans(rng: np.random.Generator, size: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    low = rng.integers(0, size + 1, 500)
    return low, np.minimum(size, low + rng.integers(0, longest, 500))


@pytest.mark.parametrize("longest", [5, 400])
def test_extremes_means_and_firsts(longest: int) -> None:
    rng = np.random.default_rng(longest)
    values = rng.normal(size=700)
    values[rng.random(700) < 0.3] = np.nan
    low, high = spans(rng, 700, longest)
    with np.errstate(all="ignore"):
        for number, (a, b) in enumerate(zip(low, high, strict=True)):
            known = values[a:b][~np.isnan(values[a:b])]
            want = [known.min(), known.max(), known.mean(), known[0]] if len(known) else [np.nan] * 4
            got = [
                windows.extreme(np.minimum, values, low, high)[number],
                windows.extreme(np.maximum, values, low, high)[number],
                windows.mean(values, low, high)[number],
                windows.first(values, low, high)[number],
            ]
            np.testing.assert_allclose(got, want, rtol=1e-12)
            if number > 60:
                break


def test_a_slope_is_that_of_least_squares_and_does_not_depend_on_where_the_array_begins() -> None:
    rng = np.random.default_rng(2)
    times = 10**15 + np.cumsum(rng.integers(10**6, 3 * 10**7, 400))
    values = rng.normal(size=400) + 500
    values[rng.random(400) < 0.2] = np.nan
    span_ns = 10**9

    def slopes(first: int) -> np.ndarray:
        t, v = times[first:], values[first:]
        low = np.searchsorted(t, t - span_ns, side="right")
        return windows.slope(v, t, low, np.arange(1, len(t) + 1), t, span_ns)

    whole = slopes(0)
    for place in range(100, 400, 7):
        within = (times > times[place] - span_ns) & (times <= times[place]) & ~np.isnan(values)
        want = np.polyfit((times[within] - times[place]) / 1e9, values[within], 1)[0]
        assert whole[place] == pytest.approx(want, rel=1e-7, abs=1e-7)
    np.testing.assert_array_equal(slopes(50)[150:], whole[200:])


def test_a_slope_needs_three_points_that_span_half_the_window() -> None:
    times = np.array([0, 10, 20, 600, 610], np.int64) * 10**6
    values = np.array([1.0, 2, 3, 4, 5])
    low = np.searchsorted(times, times - 10**9, side="right")
    found = windows.slope(values, times, low, np.arange(1, 6), times, 10**9)
    assert np.isnan(found).tolist() == [True, True, True, False, False]
