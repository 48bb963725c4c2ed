"""What the curator needs of the outside."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Trunk(Protocol):
    """A frozen network, or another fixed map from pictures to vectors, whose name says which."""

    @property
    def name(self) -> str: ...

    @property
    def width(self) -> int: ...

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[frames, cameras, height, width, 3] to [width], of unit length."""
        ...
