"""Operations on values at the same instants: (n,) arrays in, one out. Unknown is NaN in numbers, 1 in codes."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import kernel


@kernel
def number(op, a, b, out):
    """Arithmetic. ``b`` is ignored by what takes one argument; a division by zero is unknown."""
    n = len(out)
    if op == 30:
        for i in range(n):
            out[i] = -a[i]
    elif op == 31:
        for i in range(n):
            out[i] = abs(a[i])
    elif op == 32:
        for i in range(n):
            out[i] = a[i] + b[i]
    elif op == 33:
        for i in range(n):
            out[i] = a[i] - b[i]
    elif op == 34:
        for i in range(n):
            out[i] = a[i] * b[i]
    elif op == 35:
        for i in range(n):
            out[i] = a[i] / b[i] if b[i] != 0.0 else np.nan
    elif op == 36:
        for i in range(n):
            out[i] = a[i] if a[i] < b[i] or a[i] != a[i] else b[i]
    else:
        for i in range(n):
            out[i] = a[i] if a[i] > b[i] or a[i] != a[i] else b[i]


@kernel
def comparison(op, a, b, out):
    """2 where it holds, 0 where it does not, 1 where a side is unknown."""
    n = len(out)
    if op == 50:
        for i in range(n):
            out[i] = np.int8(1) + np.int8(a[i] < b[i]) - np.int8(a[i] >= b[i])
    elif op == 51:
        for i in range(n):
            out[i] = np.int8(1) + np.int8(a[i] <= b[i]) - np.int8(a[i] > b[i])
    elif op == 52:
        for i in range(n):
            differs = np.int8(a[i] < b[i]) + np.int8(a[i] > b[i])
            out[i] = np.int8(1) + np.int8(a[i] == b[i]) - differs
    else:
        for i in range(n):
            out[i] = np.int8(2) * np.int8(a[i] == a[i])


@kernel
def condition(op, a, b, out):
    """And is the lower code, or the higher, not the mirrored one."""
    n = len(out)
    if op == 60:
        for i in range(n):
            out[i] = min(a[i], b[i])
    elif op == 61:
        for i in range(n):
            out[i] = max(a[i], b[i])
    elif op == 62:
        for i in range(n):
            out[i] = np.int8(2) - a[i]
    else:
        for i in range(n):
            out[i] = np.int8(2) * np.int8(a[i] != 1)
