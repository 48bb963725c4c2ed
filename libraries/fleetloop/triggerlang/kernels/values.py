"""Values between bytes and pools: every number becomes a float64, every condition a truth value."""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import Bytes, Numbers, Truths, int64, kernel
from fleetloop.triggerlang.kernels.opcodes import TRUE, Kind


@kernel
def filled(size: int) -> int:
    """The next multiple of 8, where an array of any type may begin: add 7, then clear the low three bits."""
    return (size + 7) & ~7


@kernel
def read_numbers(data: Bytes, at: int, n: int, kind: int, out: Numbers, to: int) -> None:
    """n values of a kind (``opcodes.Kind``) as float64, into out[to:]. An int64 beyond 2**53 is rounded."""
    if kind == Kind.FLOAT32:
        f4 = data[at : at + 4 * n].view(np.float32)
        for i in range(n):
            out[to + i] = f4[i]
    elif kind == Kind.FLOAT64:
        f8 = data[at : at + 8 * n].view(np.float64)
        for i in range(n):
            out[to + i] = f8[i]
    elif kind == Kind.ENUM:
        u2 = data[at : at + 2 * n].view(np.uint16)
        for i in range(n):
            out[to + i] = u2[i]
    elif kind == Kind.INT32:
        i4 = data[at : at + 4 * n].view(np.int32)
        for i in range(n):
            out[to + i] = i4[i]
    elif kind == Kind.INT64:
        i8 = data[at : at + 8 * n].view(np.int64)
        for i in range(n):
            out[to + i] = i8[i]
    else:
        for i in range(n):
            out[to + i] = data[at + i]


@kernel
def read_truths(data: Bytes, at: int, n: int, out: Truths, to: int) -> None:
    """n bools (bytes 0 and 1) as FALSE and TRUE, into out[to:]."""
    for i in range(n):
        out[to + i] = TRUE * data[at + i]


@kernel
def write_numbers(values: Numbers, first: int, n: int, kind: int, out: Bytes, at: int) -> None:
    """The reverse of ``read_numbers``."""
    if kind == Kind.FLOAT32:
        f4 = out[at : at + 4 * n].view(np.float32)
        for i in range(n):
            f4[i] = values[first + i]
    elif kind == Kind.ENUM:
        u2 = out[at : at + 2 * n].view(np.uint16)
        for i in range(n):
            u2[i] = np.uint16(values[first + i])
    elif kind == Kind.INT32:
        i4 = out[at : at + 4 * n].view(np.int32)
        for i in range(n):
            i4[i] = np.int32(values[first + i])
    elif kind == Kind.INT64:
        i8 = out[at : at + 8 * n].view(np.int64)
        for i in range(n):
            i8[i] = int64(values[first + i])
    else:
        f8 = out[at : at + 8 * n].view(np.float64)
        for i in range(n):
            f8[i] = values[first + i]
