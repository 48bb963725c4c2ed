"""What the examination requires, as people edit it: config/examination.yaml and config/vehicle.yaml."""

from pathlib import Path
from typing import Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

T = TypeVar("T", bound=BaseModel)


class ExaminationPlanError(ValueError):
    """A file is wrong. The message names file and field."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ErrorShares(_Frozen):
    """How the error is divided among the gates that may refuse a good model by chance."""

    slices: float = Field(default=0.45, gt=0, le=1)
    cases: float = Field(default=0.1, ge=0, le=1)
    closed_loop: float = Field(default=0.15, ge=0, le=1)
    temporal: float = Field(default=0.1, ge=0, le=1)
    robustness: float = Field(default=0.1, ge=0, le=1)
    calibration: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _make_a_whole(self) -> Self:
        total = sum(getattr(self, name) for name in type(self).model_fields)
        if total > 1 + 1e-9:
            raise ValueError(f"the shares add up to {total:g}, more than 1")
        return self


class Slices(_Frozen):
    """The gate on answers."""

    conditions: tuple[str, ...] = ()
    """Prefixes of slices that are under conditions of their own, such as night_."""


class Robustness(_Frozen):
    """The gate on damaged pictures."""

    scenes: int = Field(default=360, ge=1)
    """Most scenes of the test set that are used, chosen at random once."""
    margin: float = Field(default=0.05, ge=0, lt=1)
    """Largest loss against the model in the field with the same damage, as a share of the scenes."""
    noise: float = Field(default=12.0, ge=0, le=128)
    """Standard deviation of the noise, in steps of 255."""
    darkness: float = Field(default=0.4, gt=0, le=1)
    """Brightness that is left."""
    mount_deg: float = Field(default=1.0, ge=0, le=10)
    """Degrees by which all cameras are turned, to the left and upwards."""


class Calibration(_Frozen):
    """The gate on probabilities."""

    margin: float = Field(default=0.05, ge=0, lt=1)
    """A calibration error that is larger by more than this than that of the model in the field refuses a model."""


class ClosedLoop(_Frozen):
    """The gates on driving and on time."""

    world: Literal["town", "none"] = "none"
    """Where to drive: the simulated town, or nowhere."""
    vehicles: int = Field(default=32, ge=1, le=1000)
    seconds: float = Field(default=100.0, ge=1)
    """Simulated seconds that each vehicle drives."""
    seed: int = 1
    """Of routes and drivers."""
    town_seed: int = Field(default=950_000, ge=0)
    """Of the town. No fleet drives in those from 700,000 on."""
    stretch_m: float = Field(default=60.0, gt=0)
    """Metres of road that are compared as one."""
    harsh_mps2: float = Field(default=3.0, gt=0)
    """Deceleration of the autopilot that counts as harsh, m/s^2."""


class Cases(_Frozen):
    """The gate on what the fleet once got wrong."""

    most_per_family: int = Field(default=100, ge=1)
    """Newest cases of each family that are used."""


class ExaminationPlan(_Frozen):
    """The content of config/examination.yaml."""

    error: float = Field(default=0.05, gt=0, lt=0.5)
    """Largest probability that a model is refused which lost nothing, all gates together."""
    shares: ErrorShares = ErrorShares()
    slices: Slices = Slices()
    robustness: Robustness = Robustness()
    calibration: Calibration = Calibration()
    cases: Cases = Cases()
    closed_loop: ClosedLoop = ClosedLoop()


class VehicleBudget(_Frozen):
    """The content of config/vehicle.yaml: what a vehicle has for a model."""

    cores: int = Field(default=1, ge=1, le=256)
    """Threads of an inference."""
    times_slower: float = Field(default=4.0, gt=0)
    """How many times longer the vehicle's computer takes than the one that examines."""
    p99_ms: float = Field(default=100.0, gt=0)
    """Most milliseconds of an inference on the vehicle, 99th percentile."""
    memory_mb: float = Field(default=400.0, gt=0)
    """Most MB that loading and running the model adds to a process."""
    files_mb: float = Field(default=20.0, gt=0)
    """Most MB of the files that a vehicle downloads."""


def load_plan(path: Path | None) -> ExaminationPlan:
    """Read config/examination.yaml; None for the values that are shipped. Raises ExaminationPlanError."""
    return _load(path, ExaminationPlan)


def load_budget(path: Path | None) -> VehicleBudget:
    """Read config/vehicle.yaml; None for the values that are shipped. Raises ExaminationPlanError."""
    return _load(path, VehicleBudget)


def _load(path: Path | None, kind: type[T]) -> T:
    if path is None:
        return kind()
    try:
        return kind.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
    except OSError as error:
        raise ExaminationPlanError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValidationError, yaml.YAMLError) as error:
        if isinstance(error, yaml.YAMLError):
            raise ExaminationPlanError(f"{path}: {error}") from error
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "file"
        raise ExaminationPlanError(f"{path}: {field}: {first['msg']}") from error
