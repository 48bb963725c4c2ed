"""What the agent speaks of, without protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class AgentError(Exception):
    """The agent cannot do what it was asked; the text says what and the remedy."""


class ModelRefusedError(AgentError):
    """What the servers offered is not what was signed for this vehicle, or cannot be loaded."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What this vehicle is meant to run, as its director signed it."""

    active: str = ""
    """Digest of the model that drives; empty: none yet."""
    shadow: str = ""
    """Digest of the silent model; empty: none."""
    rollout_id: str = ""
    cohort: str = "control"
    """control, shadow or canary."""
    version: int = 0


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """Seconds that the fleet wants to have."""

    command_id: str
    firing_id: str
    boot_id: bytes
    start_ns: int
    """The boot's monotonic clock, as the two below."""
    end_ns: int
    onset_ns: int
    cameras: tuple[str, ...] = ()
    """Empty: all."""
    trigger: str = ""
    priority: int = 0
    expires_at_utc_ns: int = 0


@dataclass(frozen=True, slots=True)
class ClipHeader:
    """A clip that waits on the disk, as its upload's first message will describe it."""

    command_id: str
    firing_id: str
    boot_id: str
    """In hex."""
    sha256: str
    size_bytes: int
    start_utc_ns: int
    end_utc_ns: int
    cameras: tuple[str, ...]
    model_digest: str
    priority: int


@dataclass(frozen=True, slots=True)
class Report:
    """What one vehicle's model did in a window of simulated or real time."""

    sequence: int
    start_utc_ns: int
    end_utc_ns: int
    model_digest: str
    shadow_digest: str
    rollout_id: str
    cohort: str
    distance_km: float = 0.0
    autopilot_km: float = 0.0
    interventions: int = 0
    map_disagreements: int = 0
    flickers: int = 0
    shadow_frames: int = 0
    shadow_disagreements: int = 0
    would_have_prevented: int = 0
    false_alarms: int = 0
    inferences: int = 0
    inference_p50_ms: float = 0.0
    inference_p99_ms: float = 0.0
    faults: Mapping[str, int] = field(default_factory=dict)
