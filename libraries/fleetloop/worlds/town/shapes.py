"""What the town is made of: flat coloured shapes that stand in a street and face whoever looks.

Why it exists: a house, a stop sign and a heap of leaves are all the same thing to the renderer, a row of numbers,
so thousands of them are projected, sorted and painted as arrays. This file is the only one that knows the columns.
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
BEVEL: 2 a box, 1.41 an octagon (or a disc), 1 a diamond. GLOW: 1 shines at night by itself, 0 not at all."""

BOX, OCTAGON, DIAMOND = 2.0, 1.41, 1.0


@dataclass(frozen=True, slots=True)
class Shape:
    """One row; `nearer_m` moves it a little towards the viewer, so that paint lies on its board."""

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
        """The renderer's columns."""
        return [
            self.x - self.nearer_m, self.y, self.z, self.half_width, self.half_height, self.bevel,
            *self.colour, self.glow,
        ]  # fmt: skip


def rows(shapes: Iterable[Shape]) -> FloatArray:
    """Shapes as an array [n, COLUMNS]."""
    return np.array([shape.row() for shape in shapes], np.float32).reshape(-1, COLUMNS)


def moved(array: FloatArray, along_m: float) -> FloatArray:
    """A copy of [n, COLUMNS] shifted along the street."""
    shifted = array.copy()
    shifted[:, X] += np.float32(along_m)
    return shifted
