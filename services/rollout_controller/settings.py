"""Settings of rollout_controller, and the rollout plan that users edit."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleetkit.settings import ServiceSettings, SettingsError
from rollout_controller.model import RolloutPlan


class RolloutControllerSettings(ServiceSettings):
    """What the controller is told beside what every service is."""

    fleet_monitor_address: str = Field(description="host:port of fleet_monitor, asked for evidence.")
    training_orchestrator_address: str = Field(description="host:port of training_orchestrator, which co-signs.")
    signing_key: Path = Field(description="PEM file of the rollout's online key.")
    trust_dir: Path = Field(description="Folder with the offline-signed roots and targets of both repositories.")
    tick_s: float = Field(2.0, gt=0, description="Seconds between looks at the evidence.")


class _PlanFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    shadow_percent: int = Field(ge=1, le=100)
    shadow_frames: int = Field(ge=1)
    shadow_false_alarms_per_1000: float = Field(ge=0)
    canary_percents: tuple[int, ...] = Field(min_length=1)
    canary_km: float = Field(gt=0)
    worse_p: float = Field(gt=0, lt=1)
    inference_p99_ms: float = Field(gt=0)
    faults: int = Field(ge=0)
    stage_max_s: float = Field(gt=0)


def load_plan(path: Path) -> RolloutPlan:
    """Reads config/rollout.yaml. Raises SettingsError that names the field."""
    try:
        raw = yaml.safe_load(path.read_text())
        return RolloutPlan(**_PlanFile.model_validate(raw).model_dump())
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such file; config/rollout.yaml is the one shipped") from error
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SettingsError("\n".join(lines)) from error
