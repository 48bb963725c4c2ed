"""The types of the agent, without protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class AgentError(Exception):
    """The agent cannot do what it was asked. The message names the cause and the remedy."""


class ModelUnusableError(AgentError):
    """A model that is signed and complete cannot be loaded: a fault of the model."""


class ModelRefusedError(AgentError):
    """The offered model is not the one that was signed for this vehicle."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The models that this vehicle is assigned, as its director signed it."""

    active: str = ""
    """Digest of the model that drives; empty if there is none yet."""
    shadow: str = ""
    """Digest of the shadow model; empty if there is none."""
    rollout_id: str = ""
    cohort: str = "control"
    """`control`, `shadow` or `canary`."""
    version: int = 0


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """A request for some seconds of this vehicle."""

    command_id: str
    firing_id: str
    boot_id: bytes
    start_ns: int
    """On the boot's monotonic clock, like the two below."""
    end_ns: int
    onset_ns: int
    cameras: tuple[str, ...] = ()
    """Empty for all cameras."""
    trigger: str = ""
    priority: int = 0
    expires_at_utc_ns: int = 0


@dataclass(frozen=True, slots=True)
class ClipHeader:
    """A clip on disk, as the first message of its upload describes it."""

    command_id: str
    firing_id: str
    boot_id: str
    """Hexadecimal."""
    sha256: str
    size_bytes: int
    start_utc_ns: int
    end_utc_ns: int
    cameras: tuple[str, ...]
    model_digest: str
    priority: int


@dataclass(frozen=True, slots=True)
class Report:
    """The counters of one vehicle's models over a window of time."""

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
    decisions: int = 0
    """Requests for a stop, of either model, of which the vehicle knows whether the stop was needed."""
    would_have_avoided: int = 0
    would_have_missed: int = 0
    overrides: int = 0
    inferences: int = 0
    inference_p50_ms: float = 0.0
    inference_p99_ms: float = 0.0
    faults: Mapping[str, int] = field(default_factory=dict)
