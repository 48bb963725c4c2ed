"""The sizes of the demo, chosen for two cores and ten minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetloop.kit.process.clock import seconds_to_ns

FROM_UTC_NS = seconds_to_ns(1_600_000_000)
"""Start of simulated time, September 2020: early enough that simulated time never overtakes the wall clock."""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """The parameters of one demo run."""

    turns: int = 2
    vehicles: int = 24
    agent_processes: int = 2
    plain_samples: int = 1500
    """Number of plain cases that the first model is trained on."""
    test_samples: int = 720
    """Size of the frozen test set, divided equally among the slices."""
    measured_s: float = 180.0
    """Simulated seconds of each measured drive; all vehicles drive the same routes each time."""
    onward_s: float = 90.0
    """Simulated seconds of each drive between the measured ones, on other routes."""
    measured_seed: int = 11
    onward_seed: int = 1000
    town_seed: int = 3
    labellers: int = 4
    wrong_answers: float = 0.05
    """Share of label tasks that a simulated labeller answers wrongly."""
    seed: int = 1
    label_myself: bool = False
    drive: str = ""
    """Drive file to send. If empty, the minute of comma2k19 if it is found, otherwise a drive recorded in the town.
    """
    turn_within_s: float = 900.0
    """Wall-clock seconds after which a turn that has not ended counts as stuck."""


CONFIG: Mapping[str, Mapping[str, Any]] = {
    # A demo has minutes where a fleet has days, so each stage asks for less evidence.
    "curation.yaml": {"commit_samples": 150, "commit_wait_s": 60},
    "training.yaml": {"new_samples": 250},
    "examination.yaml": {"scenes": 180, "vehicles": 16},
    "routing.yaml": {"repeat_s": 5, "clip_expires_s": 120, "per_cell": 2},
    "rollout.yaml": {
        "shadow_margin": 0.25,
        "worse_ratio": 3,
        "false_rollback": 0.05,
        "false_release": 0.2,
        "compare_every_km": 0.2,
        "stage_max_s": 600,
        "extensions": 1,
        "inference_p99_ms": 500,
        "vehicle_time_rate": 100,
    },
}
"""Values of the shipped configuration that the demo replaces."""

MORE_ENV = {
    "telemetry_archiver": {"FLEETLOOP_CUT_AFTER_S": "3"},  # files are closed sooner, so that they can be counted
}
"""Environment variables that the demo adds, by service."""
