"""What the controller speaks of: stages, evidence, and what each vehicle is meant to run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """Where a model stands."""

    REGISTERED = "registered"
    SHADOWING = "shadowing"
    CANARY = "canary"
    RELEASED = "released"
    ROLLED_BACK = "rolled_back"


class Cohort(StrEnum):
    """Which part of a rollout a vehicle is in."""

    CONTROL = "control"
    SHADOW = "shadow"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one vehicle is meant to run."""

    active: str
    """Digest of the model that drives; empty: none yet."""
    shadow: str
    """Digest of the silent model; empty: none."""
    rollout_id: str
    cohort: Cohort


@dataclass(frozen=True, slots=True)
class Totals:
    """What vehicles reported, summed over a cohort since the rollout began."""

    km: float = 0.0
    interventions: int = 0
    shadow_frames: int = 0
    would_have_prevented: int = 0
    false_alarms: int = 0
    faults: int = 0
    inference_p99_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a candidate at its present stage."""

    shadow: Totals
    """The cohort that runs it silently."""
    canary: Totals
    """The cohort that drives with it."""
    control: Totals
    """The vehicles that drive with the released model."""


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """config/rollout.yaml."""

    shadow_percent: int
    shadow_frames: int
    """Silent frames wanted before anything else happens."""
    shadow_false_alarms_per_1000: float
    """More vain stops than this a thousand silent frames, and the candidate comes back."""
    canary_percents: tuple[int, ...]
    canary_km: float
    """Distance wanted in each canary stage."""
    worse_p: float
    """A canary whose interventions are more frequent with a p-value below this comes back."""
    inference_p99_ms: float
    faults: int
    """More faults than this, and the candidate comes back."""
    stage_max_s: float
    """A stage without enough evidence after so long ends the rollout."""
    silent_after_s: float = 7 * 86_400.0
    """A vehicle that was not heard from for so long is waited for no more."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A rollout on its way."""

    stage: Stage
    canary_percent: int
    stage_began_at_utc_ns: int


@dataclass(frozen=True, slots=True)
class Move:
    """What to do with a rollout, and why."""

    stage: Stage
    canary_percent: int
    reasons: tuple[str, ...]
    """Figures, for the record and for subscribers."""
    stays: bool = False
