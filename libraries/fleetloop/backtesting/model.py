"""What a backtest speaks of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fired:
    """A moment at which a trigger would have fired."""

    firing_id: str
    campaign: str
    trigger: str
    vehicle: str
    boot: str
    """In hex; a drive is a vehicle's boot."""
    onset_utc_ns: int
    onset_monotonic_ns: int
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip that the store has, as its receipt says."""

    address: str
    vehicle: str
    start_utc_ns: int
    end_utc_ns: int
    size_bytes: int
    cameras: int


@dataclass(frozen=True, slots=True)
class ClipCost:
    """What a second of a clip weighs, and how that is known."""

    bytes_per_s: float
    cameras: int
    """That many cameras give this weight."""
    basis: str
    """For people: measured on how many clips, or stated by whom."""

    def of(self, seconds: float, cameras: int) -> float:
        """Bytes of a clip of `seconds` with `cameras` cameras, 0 meaning all."""
        share = 1.0 if not cameras or not self.cameras else min(1.0, cameras / self.cameras)
        return seconds * self.bytes_per_s * share


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of a trigger's firings another one's clips would show as well."""

    campaign: str
    trigger: str
    firings: int
    """Of the backtested trigger, with a clip that meets one of the other's, on the same vehicle."""
    own_firings: int
    """Of the other trigger."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A firing that a stored clip shows already."""

    fired: Fired
    clip: StoredClip


@dataclass(frozen=True, slots=True)
class VehicleDay:
    """One vehicle on one UTC day."""

    vehicle: str
    day: str
    driven_h: float
    firings: int


@dataclass(frozen=True, slots=True)
class TriggerResult:
    """What one trigger would have done."""

    name: str
    version: int
    firings: int
    days: Sequence[VehicleDay]
    """With telemetry, whether or not it fired; the most firings first."""
    drives: Sequence[tuple[str, str, int]]
    """(vehicle, boot, firings), the most first."""
    conditions: Mapping[str, int]
    """How often each named condition held at a firing."""
    clip_bytes: float
    """Of one clip."""
    bytes_wanted: float
    """Of all clips, if every one were fetched."""
    bytes_within_budget: float
    """Of those that the trigger's budget per vehicle and day lets through."""
    overlaps: Sequence[Overlap]
    alone: int
    """Firings that no active trigger's clip would show."""
    samples: Sequence[Sample]

    @property
    def driven_h(self) -> float:
        """Hours of telemetry that were looked at."""
        return sum(day.driven_h for day in self.days)

    @property
    def per_vehicle_day(self) -> float:
        """Mean over the days on which a vehicle drove."""
        return self.firings / len(self.days) if self.days else 0.0

    @property
    def per_hour(self) -> float:
        """Firings per hour of telemetry."""
        return self.firings / self.driven_h if self.driven_h else 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """A backtest."""

    archive: str
    fleet_id: str
    batches: int
    frames: int
    unreadable: int
    cost: ClipCost
    active: str
    """Which triggers count as active, for people."""
    triggers: Sequence[TriggerResult]
