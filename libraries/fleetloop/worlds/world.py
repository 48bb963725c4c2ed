"""What a world offers to a vehicle's agent: signals and pictures in, what the model perceived out.

Why it exists: the agent must not know whether its vehicle drives through the simulated town or through a recorded
drive. What is really there travels beside the signals, never among them: only simulated labellers and evaluations
may ask for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fleetloop.domain.tasks import HeadValue

SignalValue = float | bool | int | str | np.ndarray[tuple[int], np.dtype[np.generic]]
TICK_NS = 100_000_000
"""Signals come at 10 Hz, pictures at every fifth tick."""
TICKS_PER_PICTURE = 5


@dataclass(frozen=True, slots=True)
class Sensed:
    """One tick of a vehicle's sensors."""

    monotonic_ns: int
    """Since the vehicle's start."""
    utc_ns: int
    signals: Mapping[str, SignalValue]
    """By path of config/signals.yaml; ragged signals are 1-d arrays, enums words."""
    cameras: NDArray[np.uint8] | None
    """[cameras, height, width, 3] on camera ticks (2 Hz), otherwise None."""


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """What really is there at one moment."""

    place: str
    slice: str
    """Kind of situation when its thing is in sight, otherwise `none`; `night_` before it at night."""
    night: bool
    answers: Mapping[str, str]
    """task -> choice of config/tasks.yaml; a task that nobody could answer from the pictures is left out."""
    heads: Mapping[str, Mapping[str, HeadValue]]
    """task -> head -> value: the same answers in full, with what a choice cannot say (a distance)."""
    must_stop: bool
    sign_ahead_m: float | None
    """Distance to the sign or what looks like one; None when there is none ahead."""


class WorldVehicle(Protocol):
    """One vehicle of a world. `sense` looks, `act` lets a tenth of a second pass."""

    @property
    def vehicle_id(self) -> str:
        """Stable name, the same for the same seeds."""
        ...

    def sense(self) -> Sensed:
        """What the sensors say now; asking twice gives the same."""
        ...

    def act(self, perceived: Mapping[str, float] | None) -> None:
        """Drive on for one tick with the newest model outputs.

        Keys are signal paths without their prefix (`StopSign.IsSign`); None: no model runs in this vehicle.
        """
        ...

    @property
    def truth(self) -> FrameTruth:
        """What is really there now, for labellers and evaluation alone."""
        ...

    def counters(self) -> Mapping[str, float]:
        """Since the start: distance_km, autopilot_km, interventions, overrides."""
        ...


class Fleet(Protocol):
    """Several vehicles of one process, so that their pictures are made together."""

    @property
    def vehicles(self) -> Sequence[WorldVehicle]:
        """In a fixed order."""
        ...

    def sense_all(self) -> list[Sensed]:
        """As each vehicle's `sense`, in order."""
        ...

    def act_all(self, perceived: Sequence[Mapping[str, float] | None]) -> None:
        """As each vehicle's `act`, in order."""
        ...
