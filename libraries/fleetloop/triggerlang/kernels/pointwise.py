"""Operations on values at the same instants: (n,) arrays in, one out. Unknown is NaN in numbers, UNKNOWN in
conditions.

Numbers stay unknown by themselves, since an operation on NaN gives NaN. The others have no branch in their loops, so
that the compiler can compute several values at once.
"""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import Numbers, Truths, kernel
from fleetloop.triggerlang.kernels.opcodes import TRUE, UNKNOWN, Op


@kernel
def compute(op: int, a: Numbers, b: Numbers, out: Numbers) -> None:
    """Arithmetic. ``b`` is ignored by what takes one argument; a division by zero is unknown."""
    n = len(out)
    if op == Op.NEG:
        for i in range(n):
            out[i] = -a[i]
    elif op == Op.ABS:
        for i in range(n):
            out[i] = abs(a[i])
    elif op == Op.ADD:
        for i in range(n):
            out[i] = a[i] + b[i]
    elif op == Op.SUB:
        for i in range(n):
            out[i] = a[i] - b[i]
    elif op == Op.MUL:
        for i in range(n):
            out[i] = a[i] * b[i]
    elif op == Op.DIV:
        for i in range(n):
            out[i] = a[i] / b[i] if b[i] != 0.0 else np.nan
    elif op == Op.LOWER_OF:
        # a != a holds for NaN only. Where b is NaN, the comparison is false and b is taken.
        for i in range(n):
            out[i] = a[i] if a[i] < b[i] or a[i] != a[i] else b[i]
    else:
        for i in range(n):
            out[i] = a[i] if a[i] > b[i] or a[i] != a[i] else b[i]


@kernel
def compare(op: int, a: Numbers, b: Numbers, out: Truths) -> None:
    """TRUE where it holds, FALSE where it does not, UNKNOWN where a side is unknown.

    Both a comparison and its opposite are false for NaN, so UNKNOWN plus one minus the other is the truth value.
    """
    n = len(out)
    if op == Op.LT:
        for i in range(n):
            out[i] = np.int8(UNKNOWN) + np.int8(a[i] < b[i]) - np.int8(a[i] >= b[i])
    elif op == Op.LE:
        for i in range(n):
            out[i] = np.int8(UNKNOWN) + np.int8(a[i] <= b[i]) - np.int8(a[i] > b[i])
    elif op == Op.EQ:
        for i in range(n):
            differs = np.int8(a[i] < b[i]) + np.int8(a[i] > b[i])
            out[i] = np.int8(UNKNOWN) + np.int8(a[i] == b[i]) - differs
    else:
        # A number exists where it is equal to itself, which NaN is not.
        for i in range(n):
            out[i] = np.int8(TRUE) * np.int8(a[i] == a[i])


@kernel
def join(op: int, a: Truths, b: Truths, out: Truths) -> None:
    """And is the lower truth value, or the higher, not the mirrored one, and exists whether it is not UNKNOWN."""
    n = len(out)
    if op == Op.AND:
        for i in range(n):
            out[i] = min(a[i], b[i])
    elif op == Op.OR:
        for i in range(n):
            out[i] = max(a[i], b[i])
    elif op == Op.NOT:
        for i in range(n):
            out[i] = np.int8(TRUE) - a[i]
    else:
        for i in range(n):
            out[i] = np.int8(TRUE) * np.int8(a[i] != UNKNOWN)
