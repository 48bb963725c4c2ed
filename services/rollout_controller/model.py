"""What the controller works with: models, stages, evidence, and what each vehicle is assigned to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """How far a model has come."""

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
class PassedRun:
    """A training run whose model passed its examination."""

    model_digest: str
    artifact_address: str
    reasons: Sequence[str]
    event: bytes
    """The serialised RunChanged, kept whole: announcements of the model repeat what it says of the dataset."""
    dataset: str
    dataset_number: int
    """Number of the dataset version that it was trained on; 0 when the run does not name one."""
    evaluated_at_utc_ns: int
    started_by: str = ""
    """Person who started the run, as kind/name; empty when the policy did."""

    def includes(self, version: CommittedVersion) -> bool:
        """True when the model was trained on the samples of `version`."""
        return self.dataset == version.dataset and self.dataset_number >= version.number


@dataclass(frozen=True, slots=True)
class CommittedVersion:
    """A dataset version that was committed."""

    dataset: str
    number: int
    """Counts the versions of a dataset from 1."""
    frozen: bool
    """True for a test set."""
    committed_at_utc_ns: int
    detected_at_utc_ns: Sequence[int]
    """Detection of each sample that it added, at most 10,000; imported samples have none."""


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A model changed its stage. What subscribers of new models read."""

    event_id: str
    model_digest: str
    model_version: str
    stage: Stage
    canary_percent: int
    artifact_address: str
    dataset: str
    dataset_version: str
    run_id: str
    rollout_id: str
    reasons: Sequence[str]
    changed_at_utc_ns: int
    sequence: int
    """Token from which a subscriber resumes."""
    previous_model_digest: str
    latest_detected_at_utc_ns: int
    earliest_detected_at_utc_ns: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one vehicle is assigned to run."""

    active: str
    """Digest of the model that drives; empty before the first."""
    shadow: str
    """Digest of the model that runs in shadow; empty when none does."""
    rollout_id: str
    cohort: Cohort


@dataclass(frozen=True, slots=True)
class SignedAssignment:
    """An assignment with the version and the time that its director's metadata is made of."""

    assignment: Assignment
    version: int
    signed_at_utc_ns: int


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a report says that its vehicle ran."""

    vehicle_id: str
    digest: str
    boot: bytes
    sequence: int
    end_utc_ns: int
    """End of the reported time, by the vehicle's clock."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What vehicles reported, summed over a cohort since the rollout began."""

    km: float = 0.0
    interventions: int = 0
    shadow_frames: int = 0
    would_have_prevented: int = 0
    """Interventions that the shadow model would have prevented."""
    false_alarms: int = 0
    """Stops that only the shadow model called for and that were not needed."""
    faults: int = 0
    inference_p99_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a candidate at its present stage."""

    shadow: Totals
    """The cohort that runs it in shadow."""
    canary: Totals
    """The cohort that drives with it."""
    control: Totals
    """The vehicles that drive with the released model."""


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The plan in config/rollout.yaml."""

    shadow_percent: int
    shadow_frames: int
    """Shadow frames required before the first canary."""
    shadow_false_alarms_per_1000: float
    """A candidate with more false stops per 1,000 shadow frames is rolled back."""
    canary_percents: tuple[int, ...]
    canary_km: float
    """Distance required in each canary stage."""
    worse_p: float
    """A canary whose interventions are more frequent with a p-value below this is rolled back."""
    inference_p99_ms: float
    faults: int
    """A candidate with more faults is rolled back."""
    stage_max_s: float
    """A candidate without enough evidence this many seconds after its stage began is rolled back."""
    needs_approval: bool = False
    """Whether a person has to approve a release (`second_person` in config/access.yaml)."""
    silent_after_s: float = 7 * 86_400.0
    """A vehicle that was not heard from for this many seconds counts as silent: no rollout waits for it."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far an open rollout has come."""

    stage: Stage
    canary_percent: int
    stage_began_at_utc_ns: int


@dataclass(frozen=True, slots=True)
class Move:
    """The next step of a rollout, and why."""

    stage: Stage
    canary_percent: int
    reasons: tuple[str, ...]
    """Figures, for the record and for subscribers."""
    stays: bool = False
    """True when the rollout waits where it is."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One candidate's rollout."""

    rollout_id: str
    digest: str
    previous: str
    """Digest of the model that was released when it began; empty for the first."""
    position: Position
    began_at_utc_ns: int
    reasons: tuple[str, ...]
    is_open: bool
    last_attested_at_utc_ns: int
    """When the last vehicle attested the released model; 0 before."""
    approved_by: str = ""
    """Person who approved its release, as kind/name."""


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """A rollout with what the fleet does with its model."""

    rollout: Rollout
    vehicles: Sequence[str]
    """Vehicles that are assigned the model, sorted."""
    attested: int
    """Vehicles that attest it."""
    silent_vehicles: int


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file of one model, as the TUF role `models` lists it."""

    path: str
    """models/<digest>/<name>"""
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Publication:
    """A publication of the TUF repository that was begun; a redo after a crash writes the same bytes."""

    number: int
    """Version of models.json, snapshot.json and timestamp.json."""
    signed_at_utc_ns: int
    digests: Sequence[str]
    """Models that it lists."""
    cosignature: tuple[str, bytes] | None
    """The orchestrator's key id and signature, once it gave them."""
