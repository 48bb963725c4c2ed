"""The types of a backtest."""

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
    """Hexadecimal. A drive is one boot of a vehicle."""
    onset_utc_ns: int
    onset_monotonic_ns: int
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip in the object store, as its receipt describes it."""

    address: str
    vehicle: str
    start_utc_ns: int
    end_utc_ns: int
    size_bytes: int
    cameras: int


@dataclass(frozen=True, slots=True)
class ClipCost:
    """The size of a second of a clip, and how it was determined."""

    bytes_per_s: float
    cameras: int
    """Number of cameras that `bytes_per_s` covers."""
    basis: str
    """Explanation for people: measured on how many clips, or derived from what."""

    def of(self, seconds: float, cameras: int) -> float:
        """Return the bytes of a clip of `seconds` with `cameras` cameras, where 0 means all."""
        share = 1.0 if not cameras or not self.cameras else min(1.0, cameras / self.cameras)
        return seconds * self.bytes_per_s * share


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many firings of a trigger the clips of another trigger would show as well."""

    campaign: str
    trigger: str
    firings: int
    """Firings of the backtested trigger whose clip overlaps a clip of the other trigger on the same vehicle."""
    own_firings: int
    """Firings of the other trigger."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A firing that a stored clip already shows."""

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
    """The result of one backtested trigger."""

    name: str
    version: int
    firings: int
    days: Sequence[VehicleDay]
    """All days with telemetry, most firings first."""
    drives: Sequence[tuple[str, str, int]]
    """(vehicle, boot, firings), most firings first."""
    conditions: Mapping[str, int]
    """Number of firings at which each named condition held."""
    clip_bytes: float
    """Bytes of one clip."""
    bytes_wanted: float
    """Bytes of all clips, if every one were fetched."""
    bytes_within_budget: float
    """Bytes of the clips that the trigger's budget per vehicle and day allows."""
    overlaps: Sequence[Overlap]
    unique: int
    """Firings that no active trigger's clip would show."""
    samples: Sequence[Sample]

    @property
    def driven_h(self) -> float:
        """Hours of telemetry that were replayed."""
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
    """The result of a backtest."""

    archive: str
    fleet_id: str
    batches: int
    frames: int
    unreadable: int
    cost: ClipCost
    active: str
    """Explanation for people: which triggers count as active."""
    triggers: Sequence[TriggerResult]
    damaged_files: int = 0
    """Files of the archive that could not be read, or only in part, so that firings may be missing."""
