"""The interfaces that the agent needs: models, and worlds to drive in."""

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
"""Outputs of the net by `task.head`."""


class Runner(Protocol):
    """A loaded model. It keeps the earlier frames of every vehicle for which it is run."""

    @property
    def digest(self) -> str:
        """Digest of the bytes that were loaded."""
        ...

    def infer(self, vehicle_ids: Sequence[str], cameras: NDArray[np.uint8]) -> Sequence[Outputs]:
        """Return the outputs for one frame of each vehicle, uint8 [vehicles, cameras, H, W, 3]."""
        ...

    def forget(self, vehicle_id: str) -> None:
        """Delete the earlier frames of a vehicle."""
        ...


class Models(Protocol):
    """Loads models and names their outputs."""

    def load(self, folder: Path) -> Runner:
        """Load the model in a folder. Raises ModelUnusableError."""
        ...

    def perceived(self, outputs: Outputs, prefix: str) -> Mapping[str, float | str]:
        """Return outputs as signals below `prefix`, for example Perception.StopSign.IsSign."""
        ...


class Worlds(Protocol):
    """Builds the world in which the vehicles drive."""

    def __call__(self, seed: int) -> Fleet:
        """Return the vehicles of this process. The same seed gives the same routes."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """The models that one vehicle runs."""

    active: Runner | None = None
    shadow: Runner | None = None
    assignment: Assignment = field(default_factory=Assignment)

    def digests(self) -> tuple[str, str]:
        """Return the digests of the active and the shadow model; empty for none."""
        return (self.active.digest if self.active else "", self.shadow.digest if self.shadow else "")
