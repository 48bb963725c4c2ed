"""The shapes of the town: flat and coloured, always facing the camera.

Why it exists: to the renderer a house, a stop sign and leaves are each a row of numbers, so that thousands of them
are projected, sorted and painted as arrays. Only this file defines the columns.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Colour = tuple[float, float, float]

X, Y, Z, HALF_WIDTH, HALF_HEIGHT, BEVEL, RED, GREEN, BLUE, GLOW = range(10)
COLUMNS = 10
"""Street frame in metres: X along the street, Y to the left of the lane's middle, Z up. Colours are 0 to 1.
BEVEL: 2 is a box, 1.41 an octagon or disc, 1 a diamond. GLOW: 1 shines at night by itself, 0 does not.
"""

BOX, OCTAGON, DIAMOND = 2.0, 1.41, 1.0


@dataclass(frozen=True, slots=True)
class Shape:
    """One row of the renderer's array.

    `nearer_m` moves the shape towards the camera, so that the face of a sign is painted over its board.
    """

    x: float
    y: float
    z: float
    half_width: float
    half_height: float
    colour: Colour
    bevel: float = BOX
    glow: float = 0.0
    nearer_m: float = 0.0

    def row(self) -> list[float]:
        """Return the values of the columns [COLUMNS]."""
        return [
            self.x - self.nearer_m, self.y, self.z, self.half_width, self.half_height, self.bevel,
            *self.colour, self.glow,
        ]  # fmt: skip


def rows(shapes: Iterable[Shape]) -> FloatArray:
    """Return the shapes as an array [n, COLUMNS]."""
    return np.array([shape.row() for shape in shapes], np.float32).reshape(-1, COLUMNS)


def moved(array: FloatArray, along_m: float) -> FloatArray:
    """Return a copy of an array [n, COLUMNS], shifted along the street."""
    shifted = array.copy()
    shifted[:, X] += np.float32(along_m)
    return shifted
