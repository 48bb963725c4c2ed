"""What the orchestrator works with: runs, the policy that starts them, and what a job reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from fleetloop.domain.run_folder import Metric, VersionRef


class State(StrEnum):
    """State of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    EVALUATED = "evaluated"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """True when nothing more happens to the run."""
        return self in (State.EVALUATED, State.FAILED)


class Verdict(StrEnum):
    """What the examination of a run's model says."""

    PASSED = "passed"
    REJECTED = "rejected"


class ModelStage(IntEnum):
    """How far a model has come in its rollout. The numbers are stored; they are those of fleet.rollout.v1."""

    UNSPECIFIED = 0
    REGISTERED = 1
    SHADOWING = 2
    CANARY = 3
    RELEASED = 4
    ROLLED_BACK = 5
    WITHDRAWN = 6


@dataclass(frozen=True, slots=True)
class Policy:
    """One dataset's entry in config/training.yaml."""

    dataset: str
    test_set: str
    """Frozen dataset on which models are examined."""
    first_recipe: str
    """Recipe of the first run, from scratch."""
    recipe: str
    """Recipe of every further run, from the model that drives."""
    new_samples: int
    """Samples that the dataset must have gained since the version of the last run that gave a candidate."""
    attempts: int
    """How often a job is started before its run has failed."""
    retry_after_s: float = 3600.0
    """Seconds until a run that gave no candidate is retried on the same data; doubled after each further one."""


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A committed version of a dataset."""

    dataset: str
    version: str
    samples: int
    table_address: str
    lance_tag: str
    frozen: bool
    """True for a test set."""
    earliest_detected_at_utc_ns: int = 0
    latest_detected_at_utc_ns: int = 0
    content_digest: str = ""
    """What the rows must be; empty for versions of before it existed."""
    removed: int = 0
    """Samples that this version removed from its parent."""
    removed_so_far: int = 0
    """Samples that this version and all before it removed."""

    @property
    def ever_added(self) -> int:
        """Samples that were added until this version, the removed ones too. Later versions have no fewer."""
        return self.samples + self.removed_so_far


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A model changed its stage, as the rollout controller announces it."""

    digest: str
    stage: ModelStage
    sequence: int
    """Rises with every change of any model."""
    previous: str
    """Digest of the model that was released before it; empty for the first."""
    artifact_address: str


@dataclass(frozen=True, slots=True)
class Run:
    """A training run as last announced."""

    run_id: str
    state: State
    dataset: str
    dataset_version: str
    test_set: str
    test_set_version: str
    recipe: str
    parent_digest: str
    """Model that the run starts from; empty: from scratch."""
    seed: int
    why: str
    earliest_detected_at_utc_ns: int
    latest_detected_at_utc_ns: int
    changed_at_utc_ns: int
    verdict: Verdict | None = None
    reasons: Sequence[str] = ()
    metrics: Sequence[Metric] = ()
    parent_metrics: Sequence[Metric] = ()
    model_digest: str = ""
    artifact_address: str = ""
    evaluation_address: str = ""
    started_by: str = ""
    """Person who started it, as kind/name; empty when the policy did."""


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that is not final, and how often its job was started."""

    run: Run
    attempts: int


@dataclass(frozen=True, slots=True)
class JobInputs:
    """What a run's job reads."""

    dataset: VersionRef
    test_set: VersionRef
    parent_address: str
    """Artifacts of the model to start from; empty: the job starts from scratch."""
    parent_weights_sha256: str = ""
    """Digest of its weights, if a run of ours made it."""
