"""What the agent needs from others: a model that answers, and whoever builds worlds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fleetloop.worlds.world import Fleet
from vehicle_agent.model import Assignment

Outputs = Mapping[str, NDArray[np.float32]]
"""`task.head` -> the net's numbers for it."""


class Runner(Protocol):
    """A model that is loaded. It keeps the earlier frames of every vehicle that it is asked for."""

    @property
    def digest(self) -> str:
        """Of the bytes that were loaded."""
        ...

    def infer(self, vehicle_ids: Sequence[str], cameras: NDArray[np.uint8]) -> Sequence[Outputs]:
        """The answers to one frame of each vehicle, [vehicles, cameras, H, W, 3]."""
        ...

    def forget(self, vehicle_id: str) -> None:
        """Lets go of the earlier frames of a vehicle."""
        ...


class Models(Protocol):
    """Loads models and names their answers."""

    def load(self, folder: Path) -> Runner:
        """The model in a folder. Raises ModelRefusedError."""
        ...

    def perceived(self, outputs: Outputs, prefix: str) -> Mapping[str, float | str]:
        """Signals below `prefix`, such as Perception.StopSign.IsSign."""
        ...


class Worlds(Protocol):
    """Builds the world that the vehicles drive through."""

    def __call__(self, seed: int) -> Fleet:
        """The vehicles of this process; the same seed gives the same routes."""
        ...


@dataclass(frozen=True, slots=True)
class Equipped:
    """What one vehicle runs at present."""

    active: Runner | None = None
    silent: Runner | None = None
    assignment: Assignment = field(default_factory=Assignment)

    def digests(self) -> tuple[str, str]:
        """Of the bytes that drive and of those that run silently."""
        return (self.active.digest if self.active else "", self.silent.digest if self.silent else "")
