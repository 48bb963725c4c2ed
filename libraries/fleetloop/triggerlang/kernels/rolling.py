"""Windows over one vehicle's points, each kind in one pass. A window's result depends only on its points, to the
last bit.

Means and slopes are not differences of running sums: a running sum's rounding depends on where it began, that is on
where a poll was cut, and then so would the firings. Instead time is divided into cells as long as the window. A
window meets at most two cells, so its sum is that from its first point to the first cell's end (``suffix``) plus that
from the second cell's begin to its last point (``prefix``). Minimum and maximum work in the same way.

All functions take windows [low, high) by position, into ``values`` whose instants are ``times``. Values and times are
one vehicle's or one track's.
"""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import Ints, Numbers, Truths, kernel
from fleetloop.triggerlang.kernels.opcodes import FALSE, TRUE, UNKNOWN, Op
from fleetloop.triggerlang.kernels.tables import FAR_FUTURE_NS, FAR_PAST_NS

SLOPE_POINTS = 3
"""A slope needs this many known points, and they must span half its window."""


@kernel
def extreme(
    sign: float, values: Numbers, times: Ints, ends: Ints, shift: int, span: int, low: Ints, high: Ints, out: Numbers,
    prefix: Numbers, suffix: Numbers,
) -> None:  # fmt: skip
    """Minimum (sign 1.0) or maximum (sign -1.0) of the known values of each window that ends at ends - shift; NaN
    where there is none. A maximum is the mirrored values' minimum, mirrored.

    ``prefix`` and ``suffix`` are scratch of len(values): the minimum within a cell up to and from each position.
    """
    n = len(values)
    least = np.inf
    edge = FAR_PAST_NS
    for i in range(n):
        if times[i] >= edge:
            edge = cell_of(times[i], span) + span
            least = np.inf
        v = sign * values[i]
        least = v if v < least else least
        prefix[i] = least
    least = np.inf
    begin = FAR_FUTURE_NS
    for i in range(n - 1, -1, -1):
        if times[i] < begin:
            begin = cell_of(times[i], span)
            least = np.inf
        v = sign * values[i]
        least = v if v < least else least
        suffix[i] = least
    border = until = FAR_PAST_NS
    for k in range(len(low)):
        a, b = low[k], high[k]
        if a >= b:
            out[k] = np.nan
            continue
        end = ends[k] - shift
        if end >= until or end < border:
            border = cell_of(end, span)
            until = border + span
        least = suffix[a] if times[a] < border else np.inf
        if times[b - 1] >= border and prefix[b - 1] < least:
            least = prefix[b - 1]
        out[k] = sign * least if least < np.inf else np.nan


@kernel
def known_after(values: Numbers, out: Ints) -> None:
    """(len(values) + 1,) the first position at or after each whose value is known; len(values) for none."""
    n = len(values)
    out[n] = n
    for i in range(n - 1, -1, -1):
        out[i] = i if values[i] == values[i] else out[i + 1]


@kernel
def known_before(values: Numbers, out: Ints) -> None:
    """(len(values),) the last position at or before each whose value is known; -1 for none."""
    last = -1
    for i in range(len(values)):
        if values[i] == values[i]:
            last = i
        out[i] = last


@kernel
def first(values: Numbers, low: Ints, high: Ints, out: Numbers) -> None:
    """The first known value of each window; NaN where there is none."""
    # Windows usually rise, so the search goes on from the one before; it starts again where they fall back.
    known = before = 0
    for k in range(len(low)):
        a, b = low[k], high[k]
        if a < before or known < a:
            known = a
        before = a
        while known < b and values[known] != values[known]:
            known += 1
        out[k] = values[known] if known < b else np.nan


@kernel
def cell_of(t: int, span: int) -> int:
    """Begin of the cell of an instant."""
    return (t // span) * span


@kernel
def mean(
    values: Numbers, times: Ints, ends: Ints, shift: int, span: int, low: Ints, high: Ints, out: Numbers,
    prefix: Numbers, suffix: Numbers,
) -> None:  # fmt: skip
    """Mean of the known values of each window that ends at ends - shift; NaN where there is none.

    ``prefix`` and ``suffix`` are (2, len(values)) scratch: sums and numbers within a cell up to and from each
    position.
    """
    n = len(values)
    total = number = 0.0
    edge = FAR_PAST_NS
    for i in range(n):
        t = times[i]
        if t >= edge:
            edge = cell_of(t, span) + span
            total = number = 0.0
        v = values[i]
        if v == v:
            total += v
            number += 1.0
        prefix[0, i], prefix[1, i] = total, number
    total = number = 0.0
    begin = FAR_FUTURE_NS
    for i in range(n - 1, -1, -1):
        t = times[i]
        if t < begin:
            begin = cell_of(t, span)
            total = number = 0.0
        v = values[i]
        if v == v:
            total += v
            number += 1.0
        suffix[0, i], suffix[1, i] = total, number
    border = until = FAR_PAST_NS
    for k in range(len(low)):
        a, b = low[k], high[k]
        if a >= b:
            out[k] = np.nan
            continue
        end = ends[k] - shift
        if end >= until or end < border:
            border = cell_of(end, span)
            until = border + span
        total = number = 0.0
        if times[a] < border:
            total, number = suffix[0, a], suffix[1, a]
        if times[b - 1] >= border:
            total += prefix[0, b - 1]
            number += prefix[1, b - 1]
        out[k] = total / number if number > 0.0 else np.nan


@kernel
def slope(
    values: Numbers, times: Ints, ends: Ints, shift: int, span: int, low: Ints, high: Ints, out: Numbers,
    prefix: Numbers, suffix: Numbers, following: Ints, preceding: Ints,
) -> None:  # fmt: skip
    """Least-squares slope per second over the known values of each window that ends at ends - shift.

    NaN with fewer than ``SLOPE_POINTS`` known points, or where they span less than half the window.
    ``prefix`` and ``suffix`` are (5, len(values)) scratch; times count from a cell's begin, so products stay
    small.
    """
    n = len(values)
    span_s = span / 1e9
    begin = until = FAR_PAST_NS
    for i in range(n):
        t = times[i]
        carry = t < until
        if not carry:
            begin = cell_of(t, span)
            until = begin + span
        v = values[i]
        known = v == v
        s = (t - begin) / 1e9 if known else 0.0
        v = v if known else 0.0
        one = 1.0 if known else 0.0
        for j, x in enumerate((one, v, s, s * v, s * s)):
            prefix[j, i] = prefix[j, i - 1] + x if carry else x
    begin = FAR_FUTURE_NS
    for i in range(n - 1, -1, -1):
        t = times[i]
        carry = t >= begin
        if not carry:
            begin = cell_of(t, span)
        v = values[i]
        known = v == v
        s = (t - begin) / 1e9 if known else 0.0
        v = v if known else 0.0
        one = 1.0 if known else 0.0
        for j, x in enumerate((one, v, s, s * v, s * s)):
            suffix[j, i] = suffix[j, i + 1] + x if carry else x
    known_after(values, following)
    known_before(values, preceding)
    border = until = FAR_PAST_NS
    for k in range(len(low)):
        a, b = low[k], high[k]
        out[k] = np.nan
        if a >= b:
            continue
        least, most = following[a], preceding[b - 1]
        if least >= b or most < a or 2 * (times[most] - times[least]) < span:
            continue
        end = ends[k] - shift
        if end >= until or end < border:
            border = cell_of(end, span)
            until = border + span
        n0 = v0 = t0 = tv0 = tt0 = n1 = v1 = t1 = tv1 = tt1 = 0.0
        if times[a] < border:
            n0, v0, t0, tv0, tt0 = suffix[0, a], suffix[1, a], suffix[2, a], suffix[3, a], suffix[4, a]
        if times[b - 1] >= border:
            c = b - 1
            n1, v1, t1, tv1, tt1 = prefix[0, c], prefix[1, c], prefix[2, c], prefix[3, c], prefix[4, c]
        number, v = n0 + n1, v0 + v1
        s = t0 - span_s * n0 + t1
        sv = tv0 - span_s * v0 + tv1
        ss = tt0 - 2.0 * span_s * t0 + span_s * span_s * n0 + tt1
        spread = number * ss - s * s
        if number >= SLOPE_POINTS and spread > 0.0:
            out[k] = (number * sv - s * v) / spread


@kernel
def tallied(op: int, truths: Truths, low: Ints, high: Ints, out: Truths, number: Numbers) -> None:
    """Of each window's codes: whether any is true (``Op.ANY``) or all are (``Op.ALL``) as codes into ``out``, or
    how many are (``Op.COUNT``) into ``number``, NaN where none is there.

    Any is 1, unknown, where none is true and one is unknown or none is there; all likewise.
    """
    trues = falses = begin = end = 0
    for k in range(len(low)):
        a, b = low[k], high[k]
        if a < begin or b < end or a > end:
            trues = falses = 0
            begin = end = a
        while end < b:
            trues += truths[end] == TRUE
            falses += truths[end] == FALSE
            end += 1
        while begin < a:
            trues -= truths[begin] == TRUE
            falses -= truths[begin] == FALSE
            begin += 1
        size = b - a
        if op == Op.COUNT:
            number[k] = trues if size > 0 else np.nan
        elif op == Op.ANY:
            out[k] = TRUE if trues > 0 else FALSE if falses == size and size > 0 else UNKNOWN
        else:
            out[k] = FALSE if falses > 0 else TRUE if trues == size and size > 0 else UNKNOWN
