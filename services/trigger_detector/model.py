"""The detector's inputs and results, without Kafka and protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleetloop.domain.frames import FrameBatch
from fleetloop.triggerlang.trigger import Trigger


@dataclass(frozen=True, slots=True)
class Appended:
    """A batch and when the broker appended it to the log."""

    batch: FrameBatch
    append_ms: int


@dataclass(frozen=True, slots=True)
class CampaignRevision:
    """A campaign's triggers from an event time on."""

    campaign: str
    revision: int
    running: bool
    triggers: tuple[Trigger, ...]
    in_force_from_utc_ns: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the detector remembers. All other limits follow from ``horizon_s``."""

    horizon_s: float = 240.0
    """Replaying this many seconds of the log, by the broker's clock, restores all state."""
    lateness_s: float = 60.0
    """A batch that begins more than this many seconds before its vehicle's newest instant is not evaluated."""

    def memory_s(self) -> float:
        """How long anything is remembered, by event time and by the broker's clock: a quarter of the horizon.

        What is remembered was itself decided from what was remembered then. The chain has four links (which batches
        count, points in windows, when a condition was last false, slots with a firing), so four memories of log
        restore everything.
        """
        return self.horizon_s / 4

    @property
    def memory_ms(self) -> int:
        """The same in milliseconds: a quarter of 1,000 per second."""
        return round(self.horizon_s * 250)


@dataclass(frozen=True, slots=True)
class Firing:
    """The event that a trigger's condition turned true in a vehicle."""

    firing_id: str
    fleet_id: str
    vehicle_id: str
    boot_id: bytes
    sequence: int
    """The number, within the boot, of the batch that contains the onset."""
    campaign: str
    trigger: Trigger
    onset_monotonic_ns: int
    onset_utc_ns: int
    slot: int
    conditions: tuple[str, ...]
    """Named conditions that held at the onset."""
    evidence: Mapping[str, float]
    """Known values at the onset."""
    location: tuple[float, float] | None
    """Degrees north and east, if known."""
    model_digest: str
    shadow_digest: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How many batches and frames were evaluated, and how many were not."""

    batches: int = 0
    frames: int = 0
    duplicates: int = 0
    late: int = 0
    """Evaluated by themselves."""
    too_late: int = 0
    """Not evaluated."""
