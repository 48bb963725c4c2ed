"""The content of a dataset version as one digest: of all in its rows that a training run or an evaluation reads.

The curator announces it with the version, and a job recomputes it from the rows that it has read. Pixels count by the
digest that each row names, so that the curator need not read all pixels at each commit. A job digests them itself.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGESTED = ("sample_id", "content_sha256", "answers", "choice", "slice", "trigger")
"""Columns of a row that the digest covers."""


def dataset_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """The digest of rows in any order. Each has the columns of DIGESTED; `answers` is JSON text."""
    digest = hashlib.sha256(b"fleetloop dataset 1")
    for row in sorted(rows, key=lambda row: str(row["sample_id"])):
        for name in DIGESTED:
            text = str(row[name] or "").encode()
            digest.update(struct.pack(">Q", len(text)) + text)
    return digest.hexdigest()


def content_digest(frames: NDArray[np.uint8]) -> str:
    """SHA-256 over the shape and the pixels of a row, which is its `content_sha256`."""
    digest = hashlib.sha256(repr(frames.shape).encode())
    digest.update(np.ascontiguousarray(frames).tobytes())
    return digest.hexdigest()
