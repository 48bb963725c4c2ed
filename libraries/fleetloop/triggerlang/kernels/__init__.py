"""The loops that run for every frame of the fleet, compiled to machine code by Numba when first used.

They are compiled once per machine and version: the compiled code is kept under ``NUMBA_CACHE_DIR``, or in the
user's cache under the digest of these sources (Numba's own check looks at one file only, and these call one
another).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numba
from numba import njit


def _cache_dir() -> Path:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "fleetloop" / "kernels" / digest.hexdigest()[:16]


if "NUMBA_CACHE_DIR" not in os.environ:
    setattr(numba.config, "CACHE_DIR", str(_cache_dir()))  # noqa: B010 - not among its declared attributes

kernel: Any = njit(cache=True, nogil=True, error_model="numpy", boundscheck=False)
"""Compiles a function; it must not touch Python objects, so that other threads run beside it."""
