"""What the monitor stores of a vehicle: the models that it runs, and sums by model, cohort and window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class SumKey:
    """The models, the rollout, the cohort and the window that a sum belongs to."""

    model_digest: str
    shadow_model_digest: str
    rollout_id: str
    cohort: int
    """A value of fleet.health.v1.Cohort."""
    window_start_utc_ns: int


@dataclass(frozen=True, slots=True)
class Sums:
    """Totals over reports."""

    autopilot_km: float = 0.0
    interventions: int = 0
    map_disagreements: int = 0
    flickers: int = 0
    shadow_frames: int = 0
    shadow_disagreements: int = 0
    would_have_prevented: int = 0
    false_alarms: int = 0
    inferences: int = 0
    inference_p99_ms_max: float = 0.0
    reports: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    added_at_utc_ns: int = 0
    """When the newest of the reports arrived."""

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.autopilot_km + other.autopilot_km,
            self.interventions + other.interventions,
            self.map_disagreements + other.map_disagreements,
            self.flickers + other.flickers,
            self.shadow_frames + other.shadow_frames,
            self.shadow_disagreements + other.shadow_disagreements,
            self.would_have_prevented + other.would_have_prevented,
            self.false_alarms + other.false_alarms,
            self.inferences + other.inferences,
            max(self.inference_p99_ms_max, other.inference_p99_ms_max),
            self.reports + other.reports,
            {name: self.faults.get(name, 0) + other.faults.get(name, 0) for name in {*self.faults, *other.faults}},
            max(self.added_at_utc_ns, other.added_at_utc_ns),
        )


@dataclass(frozen=True, slots=True)
class Report:
    """The report of one vehicle about one window of time."""

    boot: str
    """The boot id in hexadecimal digits."""
    sequence: int
    where: SumKey
    sums: Sums
    end_utc_ns: int
    """End of the window by the vehicle's clock."""
    seen_at_utc_ns: int
    """When the broker appended the report."""


@dataclass(frozen=True, slots=True)
class VehicleRecord:
    """Everything that is stored of one vehicle."""

    boot: str = ""
    sequence: int = -1
    earlier: Mapping[str, int] = field(default_factory=dict)
    """The last sequence of the newest earlier boots, in the order in which their last reports arrived."""
    latest: SumKey | None = None
    reported_until_utc_ns: int = 0
    seen_at_utc_ns: int = 0
    windows: Mapping[SumKey, Sums] = field(default_factory=dict)
    past: Mapping[int, bytes] = field(default_factory=dict)
    """Digests of the boots before those, by the day on which they left `earlier`."""
