"""What a vehicle's values cannot exceed, found before anything is computed: most triggers are false throughout most
batches, and then their bounds already say so.

A number's register has a least and a greatest value, and whether it is known at every instant of its query (1), at
none (-1), or that is not found out (0); a condition's register has its one code, or -1 where the code may vary.
Bounds are taken in the order in which the values would be, and rounding keeps that order, so they hold for what
would be computed, not only for what is meant. Where a bound is not easily had, it is infinite.
"""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.opcodes import FALSE, TRUE, UNKNOWN, Op

VARIES = -1


@kernel
def of_numbers(values, out):
    """Least, greatest and whether all are known, into out[0:3]."""
    least, most = np.inf, -np.inf
    unknown = 0
    for i in range(len(values)):
        v = values[i]
        least = v if v < least else least
        most = v if v > most else most
        unknown += v != v
    out[0], out[1] = least, most
    out[2] = 1.0 if unknown == 0 and len(values) > 0 else 0.0


@kernel
def of_codes(codes, out):
    """The one code that all are, else ``VARIES``, into out[0]."""
    n = len(codes)
    if n == 0:
        out[0] = VARIES
        return
    first = codes[0]
    differs = np.int8(0)
    for i in range(n):
        differs |= codes[i] ^ first
    out[0] = first if differs == 0 else VARIES


@kernel
def longest_gap(times):
    """Between one instant and the next."""
    gap = np.int64(0)
    for i in range(1, len(times)):
        d = times[i] - times[i - 1]
        gap = d if d > gap else gap
    return gap


@kernel
def covered(first, last, gap, query_first, query_last, shift, span):
    """Whether every instant of a query, shifted, has a point within the span before it: less than the span, as a
    window wants it (for a held value, that much is enough).
    """
    return first <= query_first - shift and gap < span and query_last - shift - last < span


@kernel
def arithmetic(op, table, a, b, result):
    """Bounds of one operation on numbers. Rows of ``table`` are registers: (least, greatest, known)."""
    a0, a1, known = table[a, 0], table[a, 1], table[a, 2]
    b0, b1 = table[b, 0], table[b, 1]
    low, high = -np.inf, np.inf
    if op == Op.NEG:
        low, high = -a1, -a0
    elif op == Op.ABS:
        high = max(abs(a0), abs(a1))
        low = 0.0 if a0 <= 0.0 <= a1 else min(abs(a0), abs(a1))
    else:
        known = min(known, table[b, 2])
        if op == Op.ADD:
            low, high = a0 + b0, a1 + b1
        elif op == Op.SUB:
            low, high = a0 - b1, a1 - b0
        elif op == Op.MUL:
            p, q, r, s = a0 * b0, a0 * b1, a1 * b0, a1 * b1
            if p == p and q == q and r == r and s == s:
                low, high = min(min(p, q), min(r, s)), max(max(p, q), max(r, s))
        elif op == Op.LOWER_OF:
            low, high = min(a0, b0), min(a1, b1)
        elif op == Op.HIGHER_OF:
            low, high = max(a0, b0), max(a1, b1)
    if not (low > -np.inf and high < np.inf):
        # infinities may cancel to NaN, which is unknown
        low, high, known = -np.inf, np.inf, min(known, 0.0)
    table[result, 0], table[result, 1], table[result, 2] = low, high, known


@kernel
def compared(op, table, a, b):
    """The one code of a comparison between two registers' bounds, or ``VARIES``."""
    if table[a, 2] < 0.0 or table[b, 2] < 0.0:
        return UNKNOWN
    if table[a, 2] == 0.0 or table[b, 2] == 0.0:
        return VARIES
    a0, a1, b0, b1 = table[a, 0], table[a, 1], table[b, 0], table[b, 1]
    if op == Op.LT:
        return TRUE if a1 < b0 else FALSE if a0 >= b1 else VARIES
    if op == Op.LE:
        return TRUE if a1 <= b0 else FALSE if a0 > b1 else VARIES
    if a1 < b0 or a0 > b1:
        return FALSE
    return TRUE if a0 == a1 and b0 == b1 and a0 == b0 else VARIES


@kernel
def joined(op, a, b):
    """The one code of and, or, not, exists on codes, or ``VARIES``."""
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
