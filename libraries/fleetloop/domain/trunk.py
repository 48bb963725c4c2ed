"""The frozen trunk: an embedding of pictures with which near duplicates are found before any model was trained.

Why it exists: the embedding must never change, because stored embeddings are compared with new ones. It is
therefore not a trained net but a fixed computation: the pictures of the present frame at two scales, each
normalised in contrast, projected by random signs from a fixed seed. A different computation gets a different name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NAME = "pixels-2026-1"
"""Name under which embeddings are stored."""
WIDTH = 128
"""Length of an embedding."""
NEAR_DUPLICATE = 0.96
"""Cosine similarity from which two frames count as the same scene, as measured in docs/results/learning.md."""
_SEED = 20_260_101
# Side of the shrunk pictures in pixels: the layout of the scene, and its details.
_COARSE, _FINE = 4, 16


@dataclass(frozen=True, slots=True)
class Trunk:
    """A fixed projection of pictures."""

    name: str
    width: int

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed frames, uint8 [T, C, H, W, 3], as a unit vector [width]. Only the last frame, the present, counts.

        Raises ValueError for another shape, or for pictures with a side below 16 pixels.
        """
        if frames.ndim != 5 or frames.shape[-1] != 3 or min(frames.shape[2:4]) < _FINE:
            raise ValueError(f"frames: {frames.shape} is not [frames, cameras, height, width, 3] of >= 16 pixels")
        present = frames[-1].astype(np.float32) / 255.0
        features = np.concatenate([_normalised(_shrunk(present, side)) for side in (_COARSE, _FINE)])
        projected = features @ _signs(len(features), self.width)
        unit: NDArray[np.float32] = projected / np.float32(max(float(np.linalg.norm(projected)), 1e-9))
        return unit


def load_trunk() -> Trunk:
    """Return the only trunk that exists so far."""
    return Trunk(NAME, WIDTH)


def _shrunk(pictures: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Shrink [C, H, W, 3] to [C, side, side, 3] by block means; the remainder at the right and bottom is cut off."""
    cameras, height, width, _ = pictures.shape
    high, wide = height // side, width // side
    cut = pictures[:, : high * side, : wide * side]
    shrunk: NDArray[np.float32] = cut.reshape(cameras, side, high, side, wide, 3).mean((2, 4))
    return shrunk


def _normalised(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract each camera's mean colour and scale its contrast to 1, so that a change of light changes little.

    Takes [C, side, side, 3] and returns a vector [C * side * side * 3].
    """
    flat = pictures.reshape(len(pictures), -1, 3)
    flat = flat - flat.mean(1, keepdims=True)
    # 0.02 of full brightness: keeps the noise of a uniform picture from being amplified to contrast 1.
    scaled = flat / (flat.std((1, 2), keepdims=True) + 0.02)
    # Divided by the root of their length, the coarse and the fine vector weigh the same.
    weighted: NDArray[np.float32] = (scaled / np.float32(np.sqrt(scaled.size))).reshape(-1)
    return weighted


@lru_cache(maxsize=4)
def _signs(rows: int, columns: int) -> NDArray[np.float32]:
    """Return random signs [rows, columns]. PCG64 is specified bit by bit, so that every machine has the same."""
    bits = np.random.Generator(np.random.PCG64(_SEED)).integers(0, 2, (rows, columns), np.int8)
    return (bits * 2 - 1).astype(np.float32)
