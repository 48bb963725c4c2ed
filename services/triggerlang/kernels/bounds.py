"""What a vehicle's values cannot exceed, found before anything is computed: most triggers are false throughout most
batches, and then their bounds already say so.

A number's register has a least and a greatest value, and whether it is known at every instant of its query; a
condition's register has its one code, or -1 where the code may vary. Bounds are taken in the order in which the values
would be, and rounding keeps that order, so they hold for what would be computed, not only for what is meant. Where a
bound is not easily had, it is infinite.
"""

from __future__ import annotations

import numpy as np

from triggerlang.kernels import kernel

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
def arithmetic(op, a, b, out):
    """Bounds of one operation on numbers; rows are (least, greatest, known)."""
    known = a[2]
    if op == 30:
        out[0], out[1] = -a[1], -a[0]
    elif op == 31:
        out[1] = max(abs(a[0]), abs(a[1]))
        out[0] = 0.0 if a[0] <= 0.0 <= a[1] else min(abs(a[0]), abs(a[1]))
    else:
        known = min(a[2], b[2])
        if op == 32:
            out[0], out[1] = a[0] + b[0], a[1] + b[1]
        elif op == 33:
            out[0], out[1] = a[0] - b[1], a[1] - b[0]
        elif op == 34:
            p, q, r, s = a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1]
            out[0], out[1] = min(min(p, q), min(r, s)), max(max(p, q), max(r, s))
            if p != p or q != q or r != r or s != s:
                out[0], out[1] = -np.inf, np.inf
        elif op == 36:
            out[0], out[1] = min(a[0], b[0]), min(a[1], b[1])
        elif op == 37:
            out[0], out[1] = max(a[0], b[0]), max(a[1], b[1])
        else:
            out[0], out[1], known = -np.inf, np.inf, 0.0
    if out[0] != out[0] or out[1] != out[1] or out[0] == -np.inf or out[1] == np.inf:
        # infinities may cancel to NaN, which is unknown
        out[0], out[1], known = -np.inf, np.inf, 0.0
    out[2] = known


@kernel
def compared(op, a, b):
    """The one code of a comparison between bounds, or ``VARIES``."""
    if a[2] == 0.0 or b[2] == 0.0:
        return VARIES
    if op == 50:
        return 2 if a[1] < b[0] else 0 if a[0] >= b[1] else VARIES
    if op == 51:
        return 2 if a[1] <= b[0] else 0 if a[0] > b[1] else VARIES
    if a[1] < b[0] or a[0] > b[1]:
        return 0
    return 2 if a[0] == a[1] and b[0] == b[1] and a[0] == b[0] else VARIES


@kernel
def joined(op, a, b):
    """The one code of and, or, not, exists on codes, or ``VARIES``."""
    if op == 60:
        if a == 0 or b == 0:
            return 0
        return VARIES if a < 0 or b < 0 else min(a, b)
    if op == 61:
        if a == 2 or b == 2:
            return 2
        return VARIES if a < 0 or b < 0 else max(a, b)
    if a < 0:
        return VARIES
    if op == 62:
        return 2 - a
    return 0 if a == 1 else 2
