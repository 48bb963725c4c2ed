"""The frozen trunk: pictures to a direction, so that near duplicates are found before any model was trained.

Why it exists: what tells duplicates must never change, or yesterday's embeddings mean nothing today. So it is no
trained net but a fixed recipe: the pictures of the present frame at two scales, each normalised in contrast, and a
projection by random signs from a fixed seed. It is named after what it does; another recipe gets another name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NAME = "pixels-2026-1"
WIDTH = 128
NEAR_DUPLICATE = 0.96
"""Cosine from which two frames are the same scene, as measured in docs/results/learning.md."""
_SEED = 20_260_101
_COARSE, _FINE = 4, 16


@dataclass(frozen=True, slots=True)
class Trunk:
    """A fixed projection of pictures."""

    name: str
    width: int

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[T, C, H, W, 3] to a unit vector [width]; only the present, the last frame, counts.

        Raises ValueError for another shape, or pictures smaller than 16 pixels.
        """
        if frames.ndim != 5 or frames.shape[-1] != 3 or min(frames.shape[2:4]) < _FINE:
            raise ValueError(f"frames: {frames.shape} is not [frames, cameras, height, width, 3] of >= 16 pixels")
        present = frames[-1].astype(np.float32) / 255.0
        features = np.concatenate([_normalised(_shrunk(present, side)) for side in (_COARSE, _FINE)])
        projected = features @ _signs(len(features), self.width)
        unit: NDArray[np.float32] = projected / np.float32(max(float(np.linalg.norm(projected)), 1e-9))
        return unit


def load_trunk() -> Trunk:
    """The one trunk there is."""
    return Trunk(NAME, WIDTH)


def _shrunk(pictures: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """[C, H, W, 3] to [C, side, side, 3] by means over blocks; what does not divide is cut off at the edges."""
    cameras, height, width, _ = pictures.shape
    high, wide = height // side, width // side
    cut = pictures[:, : high * side, : wide * side]
    shrunk: NDArray[np.float32] = cut.reshape(cameras, side, high, side, wide, 3).mean((2, 4))
    return shrunk


def _normalised(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each camera's picture without its mean colour and with contrast 1: light changes, a scene does not."""
    flat = pictures.reshape(len(pictures), -1, 3)
    flat = flat - flat.mean(1, keepdims=True)
    scaled = flat / (flat.std((1, 2), keepdims=True) + 0.02)
    # Both scales weigh the same, however many numbers they have.
    weighted: NDArray[np.float32] = (scaled / np.float32(np.sqrt(scaled.size))).reshape(-1)
    return weighted


@lru_cache(maxsize=4)
def _signs(rows: int, columns: int) -> NDArray[np.float32]:
    """Random signs by a generator that is specified bit by bit, so that every machine has the same."""
    bits = np.random.Generator(np.random.PCG64(_SEED)).integers(0, 2, (rows, columns), np.int8)
    return (bits * 2 - 1).astype(np.float32)
