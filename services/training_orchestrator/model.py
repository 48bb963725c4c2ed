"""What the orchestrator speaks of: runs, the policy that starts them, and what a finished job says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Life of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    EVALUATED = "evaluated"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """True when nothing more happens to the run."""
        return self in (State.EVALUATED, State.FAILED)


@dataclass(frozen=True, slots=True)
class Policy:
    """One dataset's entry in config/training.yaml."""

    dataset: str
    test_set: str
    """Frozen dataset that models are examined on."""
    first_recipe: str
    """Recipe of the first run, from scratch."""
    recipe: str
    """Recipe of every further run, from the model that drives."""
    new_samples: int
    """Samples that the dataset must have gained since the version of the last run that gave a candidate."""
    attempts: int
    """How often a job that died is started again before its run has failed."""
    retry_after_s: float = 3600.0
    """A run that gave no candidate is tried again on the same data after so long; twice that after the next."""


@dataclass(frozen=True, slots=True)
class VersionSeen:
    """A version of a dataset."""

    dataset: str
    version: str
    samples: int
    table_address: str
    lance_tag: str
    frozen: bool
    earliest_detected_at_utc_ns: int = 0
    latest_detected_at_utc_ns: int = 0


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A figure with its 95 % interval."""

    task: str
    slice: str
    name: str
    value: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job left in its result.json."""

    passed: bool
    reasons: Sequence[str]
    metrics: Sequence[MetricValue]
    parent_metrics: Sequence[MetricValue]
    model_digest: str
    files: Mapping[str, str]
    """Artifact name -> path in the run's folder."""
