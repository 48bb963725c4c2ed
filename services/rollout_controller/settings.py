"""Settings of rollout_controller, and the rollout plan that users edit."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from fleetloop.kit.process.settings import ServiceSettings, load_edited
from rollout_controller.model import RolloutPlan


class RolloutControllerSettings(ServiceSettings):
    """Settings of the controller, in addition to those of every service."""

    training_orchestrator_address: str = Field(
        description="Address (host:port) of training_orchestrator, the co-signer."
    )
    signing_key: Path = Field(description="PEM file with the online signing key of the rollout.")
    trust_dir: Path = Field(description="Folder with the offline-signed roots and targets of both repositories.")
    keep_changes_s: float = Field(
        365 * 86_400.0,
        gt=0,
        description="Seconds for which a change stays available to watchers once its model has a later one.",
    )
    keep_evidence_s: float = Field(
        90 * 86_400.0, gt=0, description="Seconds for which the evidence of each vehicle in an ended rollout is kept."
    )
    tick_s: float = Field(2.0, gt=0, description="Seconds between two checks of the evidence.")


class _PlanFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    shadow_percent: int = Field(ge=1, le=100)
    shadow_margin: float = Field(gt=0, lt=1)
    canary_percents: tuple[int, ...] = Field(min_length=1)

    @field_validator("canary_percents")
    @classmethod
    def _must_rise(cls, percents: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 1 <= percent <= 99 for percent in percents) or list(percents) != sorted(set(percents)):
            raise ValueError("give shares from 1 to 99, each larger than the one before")
        return percents

    worse_ratio: float = Field(gt=1, le=100)
    false_rollback: float = Field(gt=0, lt=1)
    false_release: float = Field(gt=0, lt=1)
    inference_p99_ms: float = Field(gt=0)
    stage_max_s: float = Field(gt=0)
    extensions: int = Field(2, ge=0)
    compare_every_km: float = Field(1.0, gt=0)
    lying_share: float = Field(0.03, ge=0, lt=0.5)
    most_share: float = Field(3.0, ge=1)
    fault_vehicles: int = Field(2, ge=1)
    conditions: tuple[str, ...] = Field((), max_length=32)
    parked_after_s: float = Field(86_400.0, gt=0)
    vehicle_time_rate: float = Field(1.0, ge=1)
    silent_after_s: float = Field(7 * 86_400.0, gt=0)


def load_plan(path: Path) -> RolloutPlan:
    """Read config/rollout.yaml. Raises SettingsError that names the field."""
    return RolloutPlan(**load_edited(path, _PlanFile).model_dump())
