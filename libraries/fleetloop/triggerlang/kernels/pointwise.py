"""Operations on values at the same instants: (n,) arrays in, one out. Unknown is NaN in numbers, 1 in codes."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel
from fleetloop.triggerlang.kernels.opcodes import TRUE, UNKNOWN, Op


@kernel
def number(op, a, b, out):
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
        for i in range(n):
            out[i] = a[i] if a[i] < b[i] or a[i] != a[i] else b[i]
    else:
        for i in range(n):
            out[i] = a[i] if a[i] > b[i] or a[i] != a[i] else b[i]


@kernel
def comparison(op, a, b, out):
    """2 where it holds, 0 where it does not, 1 where a side is unknown."""
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
        for i in range(n):
            out[i] = np.int8(TRUE) * np.int8(a[i] == a[i])


@kernel
def condition(op, a, b, out):
    """And is the lower code, or the higher, not the mirrored one."""
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
