"""What the controller works with: models, stages, evidence, and what each vehicle is assigned to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fleetloop.domain.sequential import Score


class Stage(StrEnum):
    """How far a model has come."""

    REGISTERED = "registered"
    SHADOWING = "shadowing"
    CANARY = "canary"
    RELEASED = "released"
    ROLLED_BACK = "rolled_back"
    WITHDRAWN = "withdrawn"
    """There was not enough evidence for or against it. It may be tried again."""


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
        """True when the model was trained on the samples of `version`, as far as they were not retracted since."""
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
    removed_detected_at_utc_ns: Sequence[int] = ()
    """Detection of each sample that it removed from its parent, at most 10,000."""


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
class Decisions:
    """What a shadow model would have decided, beside what the model that drives decided and what was right."""

    total: int = 0
    prevented: int = 0
    """Stops that only it called for, and that were needed."""
    avoided: int = 0
    """Stops that only the model that drives called for, and that were not needed."""
    missed: int = 0
    """Stops that only the model that drives called for, and that were needed."""
    false_stops: int = 0
    """Stops that only it called for, and that were not needed."""

    @property
    def better(self) -> int:
        return self.prevented + self.avoided

    @property
    def worse(self) -> int:
        return self.missed + self.false_stops

    @property
    def equal(self) -> int:
        """Decisions in which both were right, or both wrong."""
        return max(0, self.total - self.better - self.worse)

    def __add__(self, other: Decisions) -> Decisions:
        return Decisions(
            self.total + other.total,
            self.prevented + other.prevented,
            self.avoided + other.avoided,
            self.missed + other.missed,
            self.false_stops + other.false_stops,
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What a vehicle reported of one window of time."""

    vehicle_id: str
    boot: bytes
    sequence: int
    end_utc_ns: int
    """End of the window, by the vehicle's clock."""
    window_s: float
    assignment: Assignment
    """What it ran, as it says."""
    km: float
    """Distance driven with the model engaged."""
    interventions: int
    """Times that the driver took over: to stop, or because a stop was not needed."""
    decisions: Decisions
    faults: int
    """Faults of the models that it ran."""
    unusable: bool
    """Whether the vehicle could not load a model that it was assigned."""
    inference_p99_ms: float
    conditions: str
    """What the vehicle says of light, road and the like; compared are only vehicles under the same conditions."""


class Refusal(StrEnum):
    """Why a report is no evidence in a rollout."""

    UNKNOWN_VEHICLE = "unknown_vehicle"
    """The vehicle was assigned nothing yet."""
    OTHER_ROLLOUT = "other_rollout"
    """It names another rollout than the vehicle is assigned to."""
    OTHER_COHORT = "other_cohort"
    OTHER_MODEL = "other_model"
    """The models that it attests are not those that are assigned."""
    TOO_LONG = "too_long"
    """The vehicle reports of more time than has passed since its assignment."""
    IMPOSSIBLE = "impossible"
    """More of something than there can be in the window."""
    BARRED = "barred"
    """An earlier try of the rollout may have ended only because of such vehicles."""
    ABOVE_SHARE = "above_share"
    """The vehicle drove so much more than the others that only it would decide."""


@dataclass(frozen=True, slots=True)
class CohortTotals:
    """What the vehicles of a cohort did since the rollout began, as far as it counts."""

    vehicles: int = 0
    km: float = 0.0
    interventions: int = 0
    faulty: int = 0
    """Vehicles that reported a fault of the model."""
    slow: int = 0
    """Vehicles whose 99th percentile of inference was above the limit."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a candidate, from reports that match what their vehicles were assigned."""

    shadow: CohortTotals = CohortTotals()
    """The cohort that runs it in shadow."""
    canary: CohortTotals = CohortTotals()
    """The cohort that drives with it."""
    control: CohortTotals = CohortTotals()
    """The vehicles that drive with the released model."""
    decisions: Decisions = Decisions()
    """Decisions of the candidate in shadow."""
    shadow_score: Score = field(default_factory=Score)
    """Evidence from its decisions in shadow, nats."""
    score: Score = field(default_factory=Score)
    """Evidence from interventions, nats."""
    members: int = 0
    """Vehicles that are assigned the candidate, whether they have reported or not."""
    tolerated: int = 0
    """Vehicles that may have lied: the scores hold without any so many."""
    suspects: tuple[str, ...] = ()
    """The `tolerated` vehicles that contribute the most to the evidence against it."""
    outliers: tuple[str, ...] = ()
    """Vehicles with so many more interventions than all others that they are not the model's. They do not count."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Reports that are no evidence, by reason."""


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The plan in config/rollout.yaml, which explains each field."""

    shadow_percent: int
    shadow_margin: float
    canary_percents: tuple[int, ...]
    worse_ratio: float
    false_rollback: float
    false_release: float
    inference_p99_ms: float
    stage_max_s: float
    extensions: int = 2
    compare_every_km: float = 1.0
    lying_share: float = 0.03
    most_share: float = 3.0
    fault_vehicles: int = 2
    conditions: tuple[str, ...] = ()
    parked_after_s: float = 86_400.0
    vehicle_time_rate: float = 1.0
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
    running_s: float = 0.0
    """Seconds of the stage in which the controller ran and vehicles drove. Outages and parked fleets do not count."""


@dataclass(frozen=True, slots=True)
class Move:
    """The next step of a rollout, and why."""

    stage: Stage
    canary_percent: int
    reasons: tuple[str, ...]
    """Figures, for the record and for subscribers."""
    stays: bool = False
    """True when the rollout waits where it is."""
    without: tuple[str, ...] = ()
    """Vehicles without which a withdrawn candidate is tried again: at once, unless the rollout is held."""


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
    reports: int = 0
    """Reports that count as evidence."""
    tries: int = 1
    barred: frozenset[str] = frozenset()
    """Vehicles that give no evidence."""
    paused_by: str = ""
    """Person who paused it, as kind/name; empty while it is not paused."""
    pause_reason: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """No rollout begins or moves forward until a person resumes all. Rolling back goes on."""

    by: str
    """Person who stopped them, as kind/name."""
    reason: str
    at_utc_ns: int


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """A rollout with what the fleet does with its model."""

    rollout: Rollout
    vehicles: Sequence[str]
    """Vehicles that are assigned the model, sorted."""
    attested: int
    """Vehicles that attest it."""
    silent_vehicles: int
    evidence: Evidence


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
