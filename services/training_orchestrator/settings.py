"""Settings of training_orchestrator, and the training policy that users edit."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from fleetloop.kit.process.settings import ServiceSettings, SettingsError, load_edited
from training_orchestrator.model import Policy


class TrainingOrchestratorSettings(ServiceSettings):
    """Settings of the orchestrator, in addition to those of every service."""

    signing_key: Path = Field(description="PEM file with the online signing key of the orchestrator.")
    seed: int = Field(1, ge=0, description="Seed of the first run; each further run uses the next number.")
    tick_s: float = Field(1.0, gt=0, description="Seconds between two checks of the runs.")
    heartbeat_stale_s: float = Field(
        120.0, gt=0, description="Seconds without a heartbeat after which a running job is killed."
    )
    tables_url: str = Field(
        "", description="Root of the Lance tables, as in the curator; empty: `datasets` below the object store."
    )
    job_module: str = Field("perception.job", description="Python module of the training job.")
    nice: int = Field(5, ge=0, le=19, description="Niceness of the job, 0 to 19: services take precedence.")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    test_set: str
    first_recipe: str
    recipe: str
    new_samples: int = Field(ge=1)
    attempts: int = Field(3, ge=1)
    retry_after_s: float = Field(3600.0, gt=0)


class _PolicyFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: dict[str, _Entry] = Field(min_length=1)


def recipes_in(config_dir: Path) -> tuple[str, ...]:
    """Names of the recipes in config/recipes, as runs name them."""
    return tuple(sorted(path.name for path in (config_dir / "recipes").glob("*.yaml")))


def load_policies(path: Path) -> dict[str, Policy]:
    """Read config/training.yaml: dataset -> policy. Raises SettingsError that names the field."""
    raw = load_edited(path, _PolicyFile)
    choices = recipes_in(path.parent)
    for name, entry in raw.datasets.items():
        for field in ("first_recipe", "recipe"):
            if getattr(entry, field) not in choices:
                remedy = f"{getattr(entry, field)!r} is none of {', '.join(choices) or 'no recipes'}"
                raise SettingsError(f"{path}: datasets.{name}.{field}: {remedy}; recipes are files in config/recipes")
    return {name: Policy(dataset=name, **entry.model_dump()) for name, entry in raw.datasets.items()}
