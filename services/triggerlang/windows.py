"""Rolling windows over flat arrays, exact in the sense that matters: a window's result depends on its points
alone.

Differences of running sums would be faster for means and slopes, but their rounding depends on where the
running sum began, that is on where a poll was cut, and then so would the firings. Sums here are taken window
by window; counts are integers, for which running sums are exact; extremes do not round.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]

_LONG = 64
"""Mean window length in points from which a table of powers of two beats looking at every point."""
SLOPE_POINTS = 3
"""A slope needs this many known points, and they must span half its window."""


def counts(flags: npt.NDArray[np.bool_], low: Ints, high: Ints) -> Ints:
    """How many flags are set within each [low, high)."""
    running = np.zeros(len(flags) + 1, np.int64)
    np.cumsum(flags, out=running[1:])
    result: Ints = running[high] - running[low]
    return result


def extreme(ufunc: Any, values: Floats, low: Ints, high: Ints) -> Floats:
    """Minimum or maximum of the known values within each [low, high); NaN where there is none."""
    unknown = np.isnan(values)
    neutral = np.inf if ufunc is np.minimum else -np.inf
    filled = np.where(unknown, neutral, values) if unknown.any() else values
    lengths = high - low
    if len(low) and lengths.sum() > _LONG * len(low):
        result = _extreme_by_table(ufunc, filled, low, lengths, neutral)
    else:
        result = _reduced(ufunc, filled, low, high, neutral)
    nothing = counts(~unknown, low, high) == 0 if unknown.any() else lengths <= 0
    return np.where(nothing, np.nan, result)


def _reduced(ufunc: Any, values: npt.NDArray[Any], low: Ints, high: Ints, neutral: float) -> npt.NDArray[Any]:
    """ufunc.reduce over each [low, high); an empty window gives a meaningless value that callers mask."""
    if len(low) == 0:
        return np.zeros(0, values.dtype)
    pairs = np.empty(2 * len(low), np.int64)
    pairs[0::2], pairs[1::2] = low, high
    return ufunc.reduceat(np.append(values, neutral), pairs)[0::2]  # type: ignore[no-any-return]


def _extreme_by_table(ufunc: Any, values: Floats, low: Ints, lengths: Ints, neutral: float) -> Floats:
    result = np.full(len(low), neutral)
    level = np.frexp(np.maximum(lengths, 1).astype(np.float64))[1] - 1
    table = values
    for power in range(int(level.max(initial=0)) + 1):
        chosen = np.flatnonzero((level == power) & (lengths > 0))
        first = low[chosen]
        result[chosen] = ufunc(table[first], table[first + lengths[chosen] - 2**power])
        table = ufunc(table[: -(2**power) or None], table[2**power :]) if len(table) > 2**power else table
    return result


def mean(values: Floats, low: Ints, high: Ints) -> Floats:
    """Mean of the known values within each [low, high); NaN where there is none."""
    known = ~np.isnan(values)
    total = _reduced(np.add, np.where(known, values, 0.0), low, high, 0.0)
    number = counts(known, low, high)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def first(values: Floats, low: Ints, high: Ints) -> Floats:
    """The first known value within each [low, high); NaN where there is none."""
    if len(values) == 0:
        return np.full(len(low), np.nan)
    place = np.where(np.isnan(values), len(values), np.arange(len(values)))
    following = np.append(np.minimum.accumulate(place[::-1])[::-1], len(values))
    found = following[low]
    return np.where(found < high, np.append(values, np.nan)[np.minimum(found, len(values))], np.nan)


def slope(values: Floats, times_ns: Ints, low: Ints, high: Ints, ends_ns: Ints, span_ns: int) -> Floats:
    """Least-squares slope per second within each [low, high), a window of ``span_ns`` that ends at
    ``ends_ns``.

    Times are taken relative to a grid of the window's own length, so that a window meets at most two cells,
    products stay small, and nothing depends on where the array begins.
    """
    known = ~np.isnan(values)
    span_s = span_ns / 1e9
    cell = times_ns // span_ns
    within_s = np.where(known, (times_ns - cell * span_ns) / 1e9, 0.0)
    filled = np.where(known, values, 0.0)
    end_cell = ends_ns // span_ns
    # the first point of the window's last cell: keys of cells rise only within a vehicle, so count instead of
    # search
    in_last = np.zeros(len(low), np.int64)
    position = np.append(cell, -1)
    change = np.flatnonzero(np.append(True, cell[1:] != cell[:-1])) if len(cell) else np.zeros(0, np.int64)
    begin_of = np.zeros(len(cell) + 1, np.int64)
    if len(cell):
        begin_of[:-1] = np.repeat(change, np.diff(np.append(change, len(cell))))
    last = np.maximum(high - 1, 0)
    same = position[last] == end_cell
    in_last = np.where(same, np.maximum(begin_of[last], low), high)
    sums = []
    for array in (known.astype(np.float64), filled, within_s, within_s * filled, within_s * within_s):
        before = np.where(in_last > low, _reduced(np.add, array, low, in_last, 0.0), 0.0)
        after = np.where(high > in_last, _reduced(np.add, array, in_last, high, 0.0), 0.0)
        sums.append((before, after))
    (n0, n1), (v0, v1), (t0, t1), (tv0, tv1), (tt0, tt1) = sums
    n, v = n0 + n1, v0 + v1
    t = t0 - span_s * n0 + t1
    tv = tv0 - span_s * v0 + tv1
    tt = tt0 - 2 * span_s * t0 + span_s * span_s * n0 + tt1
    spread = n * tt - t * t
    enough = (n >= SLOPE_POINTS) & _wide(known, times_ns, low, high, span_ns)
    safe = np.where(enough & (spread > 0), spread, 1.0)
    return np.where(enough & (spread > 0), (n * tv - t * v) / safe, np.nan)


def _wide(known: npt.NDArray[np.bool_], times_ns: Ints, low: Ints, high: Ints, span_ns: int) -> npt.NDArray[np.bool_]:
    """Whether the known points within each window span half of it."""
    size = len(known)
    if size == 0:
        return np.zeros(len(low), bool)
    place = np.arange(size)
    following = np.append(np.minimum.accumulate(np.where(known, place, size)[::-1])[::-1], size)
    preceding = np.append(np.maximum.accumulate(np.where(known, place, -1)), -1)
    begin, end = following[low], preceding[np.maximum(high - 1, 0)]
    some = (begin < high) & (end >= low) & (high > low)
    spread = times_ns[np.where(some, end, 0)] - times_ns[np.where(some, begin, 0)]
    result: npt.NDArray[np.bool_] = some & (2 * spread >= span_ns)
    return result


def any_true(codes: Codes, low: Ints, high: Ints) -> Codes:
    """True where a code within is true; else unknown where one is unknown or none is there; else false."""
    true, false = counts(codes == 2, low, high), counts(codes == 0, low, high)
    return np.where(true > 0, 2, np.where((false == high - low) & (high > low), 0, 1)).astype(np.int8)


def all_true(codes: Codes, low: Ints, high: Ints) -> Codes:
    """False where a code within is false; else unknown where one is unknown or none is there; else true."""
    true, false = counts(codes == 2, low, high), counts(codes == 0, low, high)
    return np.where(false > 0, 0, np.where((true == high - low) & (high > low), 2, 1)).astype(np.int8)
