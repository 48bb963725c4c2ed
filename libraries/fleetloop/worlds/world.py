"""The interface between a vehicle's agent and a world: the world provides signals and pictures, the agent returns the
model's outputs.

Why it exists: the agent must not depend on whether its vehicle drives through the simulated town or replays a
recorded drive. The truth about a scene is kept apart from the signals and is never sent; only simulated labellers
and evaluations may read it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fleetloop.domain.tasks import HeadValue

SignalValue = float | bool | int | str | np.ndarray[tuple[int], np.dtype[np.generic]]
TICK_NS = 100_000_000
"""Time from one tick to the next, nanoseconds; each tick has signals (10 Hz)."""
TICKS_PER_PICTURE = 5
"""Every fifth tick also has pictures (2 Hz)."""


@dataclass(frozen=True, slots=True)
class Sensed:
    """The measurements of one tick of one vehicle."""

    monotonic_ns: int
    """Nanoseconds since the vehicle's start."""
    utc_ns: int
    signals: Mapping[str, SignalValue]
    """Path of config/signals.yaml -> value. A ragged signal is a 1-d array, an enum its word."""
    cameras: NDArray[np.uint8] | None
    """[cameras, height, width, 3] on ticks with pictures, otherwise None."""


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """The truth about one vehicle's scene at one moment."""

    place: str
    """Name of the street."""
    slice: str
    """Kind of situation while its subject is in sight, otherwise `none`; prefixed with `night_` at night."""
    night: bool
    answers: Mapping[str, str]
    """Task -> choice of config/tasks.yaml. A task that cannot be answered from the pictures is left out."""
    heads: Mapping[str, Mapping[str, HeadValue]]
    """Task -> head -> value: the same answers in full, with values that no choice expresses, such as a distance."""
    must_stop: bool
    """Whether a stop sign in sight applies to this vehicle."""
    sign_ahead_m: float | None
    """Metres to the sign or its look-alike; None when there is none ahead."""


class WorldVehicle(Protocol):
    """One vehicle of a world. `sense` measures, `act` advances the vehicle by one tick."""

    @property
    def vehicle_id(self) -> str:
        """Name of the vehicle, the same for the same seeds."""
        ...

    def sense(self) -> Sensed:
        """Return the measurements of the current tick. Idempotent."""
        ...

    def act(self, perceived: Mapping[str, float] | None) -> None:
        """Advance by one tick with the newest model outputs.

        Keys are signal paths without their prefix (`StopSign.IsSign`); None: no model runs in this vehicle.
        """
        ...

    @property
    def truth(self) -> FrameTruth:
        """The truth at the current tick, only for simulated labellers and evaluations."""
        ...

    def counters(self) -> Mapping[str, float]:
        """Return the totals since the start: distance_km, autopilot_km, interventions, overrides."""
        ...


class Fleet(Protocol):
    """The vehicles of one process, which are simulated together so that their pictures are rendered together."""

    @property
    def vehicles(self) -> Sequence[WorldVehicle]:
        """The vehicles, in a fixed order."""
        ...

    def sense_all(self) -> list[Sensed]:
        """Return the result of each vehicle's `sense`, in order."""
        ...

    def act_all(self, perceived: Sequence[Mapping[str, float] | None]) -> None:
        """Call each vehicle's `act` with its outputs, in order."""
        ...
