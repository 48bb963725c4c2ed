"""Rolling windows against the plain definition, on irregular instants, whatever came before the first window."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fleetloop.triggerlang.kernels import rolling, search
from fleetloop.triggerlang.kernels.opcodes import Op

S = 10**9
Array = npt.NDArray[Any]


def telemetry(seed: int, size: int = 300) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    times = 10**15 + np.cumsum(rng.integers(1, 3 * 10**8, size))
    values = rng.normal(size=size)
    values[rng.random(size) < 0.3] = np.nan
    return times, values


def windows(times: Array, span_ns: int) -> tuple[Array, Array]:
    """[low, high) of (t - span, t] for every instant t."""
    return np.searchsorted(times, times - span_ns, side="right"), np.arange(1, len(times) + 1)


def rolled(name: str, times: Array, values: Array, span_ns: int) -> Array:
    low, high = windows(times, span_ns)
    n = len(values)
    out = np.zeros(n)
    sums = np.empty((10, n))
    first, second = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    if name in ("min", "max"):
        sign = 1.0 if name == "min" else -1.0
        rolling.extreme(sign, values, times, times, 0, span_ns, low, high, out, sums[0], sums[1])
    elif name == "mean":
        rolling.mean(values, times, times, 0, span_ns, low, high, out, sums[:2], sums[5:7])
    elif name == "first":
        rolling.first(values, low, high, out)
    else:
        rolling.slope(values, times, times, 0, span_ns, low, high, out, sums[:5], sums[5:], first, second)
    return out


PLAIN: dict[str, Any] = {"min": np.min, "max": np.max, "mean": np.mean, "first": lambda known: known[0]}


@pytest.mark.parametrize("span_ns", [S // 10, S, 20 * S])
@pytest.mark.parametrize("name", PLAIN)
def test_it_is_what_its_name_says_of_the_known_values(name: str, span_ns: int) -> None:
    times, values = telemetry(span_ns % 97)
    low, high = windows(times, span_ns)
    found = rolled(name, times, values, span_ns)
    for number, (a, b) in enumerate(zip(low, high, strict=True)):
        known = values[a:b][~np.isnan(values[a:b])]
        expected = PLAIN[name](known) if len(known) else np.nan
        np.testing.assert_allclose(found[number], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [*PLAIN, "slope"])
def test_a_window_depends_on_its_own_points_alone_to_the_last_bit(name: str) -> None:
    times, values = telemetry(3)
    whole = rolled(name, times, values, 2 * S)
    for cut in (1, 40, 111, 200):
        low, _ = windows(times, 2 * S)
        begin = low[cut]
        np.testing.assert_array_equal(rolled(name, times[begin:], values[begin:], 2 * S)[cut - begin :], whole[cut:])
        np.testing.assert_array_equal(rolled(name, times[:cut], values[:cut], 2 * S), whole[:cut])


def test_a_slope_is_that_of_least_squares() -> None:
    times, values = telemetry(2)
    values += 500
    found = rolled("slope", times, values, 3 * S)
    checked = 0
    for i in range(len(times)):
        within = (times > times[i] - 3 * S) & (times <= times[i]) & ~np.isnan(values)
        wide = within.sum() >= 3 and np.ptp(times[within]) * 2 >= 3 * S
        assert np.isnan(found[i]) != wide
        if wide:
            expected = np.polyfit((times[within] - times[i]) / 1e9, values[within], 1)[0]
            assert found[i] == pytest.approx(expected, rel=1e-7, abs=1e-7)
            checked += 1
    assert checked > 100


def test_a_slope_needs_three_points_that_span_half_the_window() -> None:
    times = np.array([0, 10, 20, 600, 610], np.int64) * 10**6
    found = rolled("slope", times, np.array([1.0, 2, 3, 4, 5]), S)
    assert np.isnan(found).tolist() == [True, True, True, False, False]


def test_windows_that_fall_back_begin_anew() -> None:
    values = np.array([np.nan, 1.0, np.nan, 2.0])
    low, high = np.array([1, 2, 0, 0]), np.array([3, 4, 2, 0])
    out = np.zeros(4)
    rolling.first(values, low, high, out)
    np.testing.assert_array_equal(out, [1.0, 2.0, 1.0, np.nan])


def test_conditions_within_a_window_are_three_valued() -> None:
    codes = np.array([2, 0, 1, 0, 0, 2, 2], np.int8)
    low, high = np.array([0, 1, 1, 3, 5, 5, 4]), np.array([3, 2, 4, 5, 7, 5, 6])
    out, number = np.zeros(7, np.int8), np.zeros(7)
    rolling.tallied(Op.ANY, codes, low, high, out, number)
    assert out.tolist() == [2, 0, 1, 0, 2, 1, 2]
    rolling.tallied(Op.ALL, codes, low, high, out, number)
    assert out.tolist() == [0, 0, 0, 0, 2, 1, 0]
    rolling.tallied(Op.COUNT, codes, low, high, out, number)
    np.testing.assert_array_equal(number, [1, 0, 0, 0, 2, np.nan, 1])


def test_positions_count_what_lies_at_or_before() -> None:
    times, instants = np.array([10, 20, 30, 40]), np.array([5, 10, 25, 25, 99])
    out = np.zeros(5, np.int64)
    search.upper_bounds(times, 0, 4, instants, 0, 5, 0, out)
    assert out.tolist() == [0, 1, 2, 2, 4]
    search.upper_bounds(times, 1, 3, instants, 2, 5, 10, out)
    assert out[2:].tolist() == [1, 1, 3]
