"""What a vehicle's values cannot exceed, found before anything is computed.

Most triggers are false throughout most batches, and the bounds of the values that they compare already say so: a few
numbers are compared instead of all values.

A number register has a least and a greatest value, and whether it is known at every instant of its query
(ALWAYS_KNOWN), at none (NEVER_KNOWN), or whether that was not found out (PERHAPS_KNOWN). A truth register has its one
truth value, or VARIES. Bounds are computed by the same floating-point operations as the values, and rounding keeps
order, so they hold for what would be computed, not only for the exact result. A bound that is not easily found is
infinite.
"""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import Ints, Numbers, Truths, int64, kernel
from fleetloop.triggerlang.kernels.opcodes import FALSE, TRUE, UNKNOWN, Op
from fleetloop.triggerlang.kernels.tables import (
    ALWAYS_KNOWN,
    NEVER_KNOWN,
    PERHAPS_KNOWN,
    R_KNOWN,
    R_LEAST,
    R_MOST,
    VARIES,
)


@kernel
def set_range(row: Numbers, least: float, most: float, known: float) -> None:
    """Writes a number's range."""
    row[R_LEAST], row[R_MOST], row[R_KNOWN] = least, most, known


@kernel
def range_of_numbers(values: Numbers, out: Numbers) -> None:
    """The range of values at the instants at which they were measured."""
    least, most = np.inf, -np.inf
    unknown = 0
    for i in range(len(values)):
        v = values[i]
        least = v if v < least else least
        most = v if v > most else most
        unknown += v != v  # true for NaN only
    set_range(out, least, most, ALWAYS_KNOWN if unknown == 0 and len(values) > 0 else PERHAPS_KNOWN)


@kernel
def common_truth(truths: Truths) -> int:
    """The one truth value that all are, else ``VARIES``."""
    n = len(truths)
    if n == 0:
        return VARIES
    first = truths[0]
    # Collecting the bits that differ, without leaving the loop, lets the compiler compare several at once.
    differs = np.int8(0)
    for i in range(n):
        differs |= truths[i] ^ first
    return int64(first) if differs == 0 else VARIES


@kernel
def longest_gap(times: Ints) -> int:
    """The longest time between two neighbouring instants."""
    gap = 0
    for i in range(1, len(times)):
        d = times[i] - times[i - 1]
        gap = d if d > gap else gap
    return gap


@kernel
def covered(first: int, last: int, gap: int, query_first: int, query_last: int, shift: int, span: int) -> bool:
    """Whether every instant of a query, shifted, has a point less than the span before it.

    A window needs that; a held value may also be exactly a span old, so for it this is enough.
    """
    return first <= query_first - shift and gap < span and query_last - shift - last < span


@kernel
def arithmetic_range(op: int, ranges: Numbers, a: int, b: int, result: int) -> None:
    """The range of one operation on the registers a and b."""
    a0, a1, known = ranges[a, R_LEAST], ranges[a, R_MOST], ranges[a, R_KNOWN]
    b0, b1 = ranges[b, R_LEAST], ranges[b, R_MOST]
    low, high = -np.inf, np.inf
    if op == Op.NEG:
        low, high = -a1, -a0
    elif op == Op.ABS:
        high = max(abs(a0), abs(a1))
        low = 0.0 if a0 <= 0.0 <= a1 else min(abs(a0), abs(a1))
    else:
        known = min(known, ranges[b, R_KNOWN])
        if op == Op.ADD:
            low, high = a0 + b0, a1 + b1
        elif op == Op.SUB:
            low, high = a0 - b1, a1 - b0
        elif op == Op.MUL:
            p, q, r, s = a0 * b0, a0 * b1, a1 * b0, a1 * b1
            # Zero times infinity is NaN, and NaN is not equal to itself: then the range stays infinite.
            if p == p and q == q and r == r and s == s:
                low, high = min(min(p, q), min(r, s)), max(max(p, q), max(r, s))
        elif op == Op.LOWER_OF:
            low, high = min(a0, b0), min(a1, b1)
        elif op == Op.HIGHER_OF:
            low, high = max(a0, b0), max(a1, b1)
    if not (low > -np.inf and high < np.inf):
        # Infinities may cancel to NaN, which is unknown.
        low, high, known = -np.inf, np.inf, min(known, PERHAPS_KNOWN)
    set_range(ranges[result], low, high, known)


@kernel
def comparison_range(op: int, ranges: Numbers, a: int, b: int) -> int:
    """The one truth value of comparing the registers a and b, or ``VARIES``."""
    if ranges[a, R_KNOWN] == NEVER_KNOWN or ranges[b, R_KNOWN] == NEVER_KNOWN:
        return UNKNOWN
    if ranges[a, R_KNOWN] == PERHAPS_KNOWN or ranges[b, R_KNOWN] == PERHAPS_KNOWN:
        return VARIES
    a0, a1, b0, b1 = ranges[a, R_LEAST], ranges[a, R_MOST], ranges[b, R_LEAST], ranges[b, R_MOST]
    if op == Op.LT:
        return TRUE if a1 < b0 else FALSE if a0 >= b1 else VARIES
    if op == Op.LE:
        return TRUE if a1 <= b0 else FALSE if a0 > b1 else VARIES
    if a1 < b0 or a0 > b1:
        return FALSE
    return TRUE if a0 == a1 and b0 == b1 and a0 == b0 else VARIES


@kernel
def logic_range(op: int, a: int, b: int) -> int:
    """The one truth value of and, or, not and exists, where a and b are truth values or ``VARIES``."""
    if op == Op.AND:
        if a == FALSE or b == FALSE:
            return FALSE
        return VARIES if a == VARIES or b == VARIES else min(a, b)
    if op == Op.OR:
        if a == TRUE or b == TRUE:
            return TRUE
        return VARIES if a == VARIES or b == VARIES else max(a, b)
    if a == VARIES:
        return VARIES
    if op == Op.NOT:
        return TRUE - a
    return FALSE if a == UNKNOWN else TRUE
