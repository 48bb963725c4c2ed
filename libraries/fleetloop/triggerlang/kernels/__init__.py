"""The loops that run for every frame of the fleet, compiled to machine code by Numba when they are first used.

They are compiled once per machine and version. The compiled code is kept under ``NUMBA_CACHE_DIR`` or, where that is
not set, in the user's cache in a folder named by the digest of these sources: Numba checks only the file that a
function is in, and these functions call one another across files.

Types are fixed by ``arguments``, so that one compiled version of each function serves all callers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.float64]
Truths = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
int64 = cast("Callable[[Any], int]", np.int64)
"""Widens a number of a narrower array: Numba computes in the array's type, which could overflow."""
Function = TypeVar("Function", bound=Callable[..., object])


def _cache_dir() -> Path:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "fleetloop" / "kernels" / digest.hexdigest()[:16]


if "NUMBA_CACHE_DIR" not in os.environ:
    setattr(numba.config, "CACHE_DIR", str(_cache_dir()))  # noqa: B010 - not among its declared attributes


_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "boundscheck": False, "_nrt": False}
"""``_nrt`` False: without Numba's runtime, functions cannot allocate, and arrays are not counted by reference (the
caller in Python holds them). Counting costs an atomic operation per array and call; passing groups of arrays to small
functions doubled the time of reading a batch.
"""


def kernel(function: Function) -> Function:
    """Compiles a function with Numba; it releases the interpreter lock, so it must not touch Python objects.

    To Python it can return numbers only, no arrays (see ``_OPTIONS``): results are written to arrays of the caller.

    Divisions by zero give infinity or NaN, and positions outside an array are not noticed.
    """
    compiled: Function = numba.njit(**_OPTIONS)(function)
    return compiled


def inlined(function: Function) -> Function:
    """Like ``kernel``, but compiled into each caller.

    For functions that run once per column, source or instruction and take large groups of arrays: copying the groups
    would take about as long as the function.
    """
    compiled: Function = numba.njit(inline="always", **_OPTIONS)(function)
    return compiled
