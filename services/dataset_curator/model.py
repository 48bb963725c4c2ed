"""What the curator works with: samples, why some are refused, and versions of datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class RefusalReason(StrEnum):
    """Why a sample is refused."""

    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    IN_TEST_SET = "in_test_set"
    UNREADABLE_CLIP = "unreadable_clip"
    RETRACTED = "retracted"


@dataclass(frozen=True, slots=True)
class LabelledMoment:
    """A moment of a clip with its agreed label; its pixels are still in the clip."""

    sample_id: str
    dataset: str
    task: str
    choice: str
    """The answer, as the task schema names it."""
    clip_address: str
    moment_utc_ns: int
    moment_monotonic_ns: int
    position_deg: tuple[float, float] | None
    """Latitude and longitude; None when they are not known."""
    vehicle_id: str
    clip_id: str
    firing_id: str
    trigger: str
    trigger_version: int
    campaign: str
    model_digest: str
    label_source: str
    label_confidence: float
    labelled_at_utc_ns: int
    detected_at_utc_ns: int
    event: bytes
    """The serialised SampleLabelled, which is what the database keeps."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled moment with its pixels, as a row of a dataset."""

    sample_id: str
    task: str
    choice: str
    """The answer, as the task schema names it; empty when no single choice says what `answers` says."""
    answers: Mapping[str, Mapping[str, object]]
    """task -> head -> value."""
    frames: NDArray[np.uint8]
    """[frames, cameras, height, width, 3], the oldest first."""
    content_sha256: str
    embedding: NDArray[np.float32]
    """[width], of unit length."""
    trunk: str
    """Name of the frozen trunk that made the embedding."""
    slice: str = ""
    place: str = ""
    moment_utc_ns: int = 0
    vehicle_id: str = ""
    clip_id: str = ""
    clip_address: str = ""
    firing_id: str = ""
    trigger: str = ""
    trigger_version: int = 0
    campaign: str = ""
    model_digest: str = ""
    label_source: str = ""
    label_confidence: float = 1.0
    labelled_at_utc_ns: int = 0
    detected_at_utc_ns: int = 0


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A similar sample that the dataset has already."""

    sample_id: str
    similarity: float
    """Cosine of the embeddings."""
    same_answer: bool
    frozen: bool
    """True when it belongs to a frozen test set."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a commit will do, decided before it writes."""

    admitted: Sequence[Sample]
    refused: Mapping[str, RefusalReason]
    """Sample id -> why."""


@dataclass(frozen=True, slots=True)
class TriggerCount:
    """Samples of a version that one trigger version brought."""

    trigger: str
    version: int
    samples: int


@dataclass(frozen=True, slots=True)
class RowSelector:
    """Rows by their origin. Exactly one of vehicle, clip, trigger and source is set."""

    vehicle_id: str = ""
    clip_id: str = ""
    trigger: str = ""
    trigger_version: int = 0
    """0 for all versions of the trigger."""
    label_source: str = ""

    def __str__(self) -> str:
        version = f" v{self.trigger_version}" if self.trigger_version else ""
        named = {
            "vehicle": self.vehicle_id,
            "clip": self.clip_id,
            "trigger": self.trigger + version if self.trigger else "",
            "source": self.label_source,
        }
        return " and ".join(f"{name} {value}" for name, value in named.items() if value)


@dataclass(frozen=True, slots=True)
class Retraction:
    """What a version removed from its parent."""

    rows: RowSelector
    by: str
    """Person who asked for it, as kind/name."""
    first_version: str
    """The oldest version that has the rows."""
    by_slice: Mapping[str, int]
    by_trigger: Sequence[TriggerCount]
    sample_ids: Sequence[str]
    """The first of them, as in `DatasetVersion.added_sample_ids`."""
    detected_at_utc_ns: Sequence[int]


@dataclass(frozen=True, slots=True)
class RetractionRule:
    """An origin whose samples are refused since a retraction."""

    dataset: str
    rows: RowSelector
    version: str
    """Version that removed the rows; empty when no version had any."""
    first_version: str
    by: str
    reason: str
    at_utc_ns: int
    readmitted_at_utc_ns: int = 0
    """Samples that were detected later than this are admitted again; 0 while all are refused."""
    readmitted_by: str = ""


@dataclass(frozen=True, slots=True)
class HeldSamples:
    """Samples of one vehicle that wait because the vehicle has its share of the dataset."""

    vehicle_id: str
    held: int
    samples: int
    """The vehicle's samples in the newest version."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many samples of a dataset wait."""

    fresh: int
    """Samples that no commit has held."""
    oldest_ns: int
    """Since when the oldest fresh one waits; 0 without one."""
    held: int
    """Samples that wait until other vehicles have caught up."""
    admissible: int
    """Held samples that a commit could admit now."""


@dataclass(frozen=True, slots=True)
class DatasetCuration:
    """What a dataset does not have, or does not have yet."""

    dataset: str
    waiting: int
    """Labelled samples that wait for a commit, without those that are held."""
    retractions: Sequence[RetractionRule]
    held: Sequence[HeldSamples]
    vehicle_samples: int
    """Samples from vehicles in the newest version."""
    most_of_a_vehicle: int
    """The most samples that one vehicle may have in a version with so many."""


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A version of a dataset, as it is announced."""

    event_id: str
    """Id of the commit."""
    dataset: str
    version: str
    parent: str
    """Version before it; empty for the first."""
    samples: int
    added: int
    by_trigger: Sequence[TriggerCount]
    """Of the added samples."""
    diff_address: str
    table_address: str
    lance_tag: str
    reason: str
    committed_at_utc_ns: int
    earliest_detected_at_utc_ns: int
    latest_detected_at_utc_ns: int
    frozen: bool
    """True for a test set."""
    refused: Mapping[str, int]
    """Reason -> samples."""
    task_schema_version: str
    added_sample_ids: Sequence[str]
    """The first of them: an event has a size limit. The diff has all."""
    detected_at_utc_ns: Sequence[int]
    """When each added sample was detected, at most 10,000; imported samples have none."""
    content_digest: str = ""
    """`fleetloop.domain.dataset_digest` of all rows; empty for versions of before it existed."""
    removed: int = 0
    retraction: Retraction | None = None
    """None for a version that adds samples."""


@dataclass(frozen=True, slots=True)
class PendingCommit:
    """A commit that was decided and may or may not have been written to its table."""

    dataset: str
    commit_id: str
    number: int
    version: DatasetVersion
    """What it announces once it is done."""
    waiting_ids: Sequence[str]
    """Waiting samples that it uses up, the refused ones too."""
    admitted_ids: Sequence[str]
    """Samples that it adds."""
    request_id: str = ""
    """Request for an import or a retraction that it answers; empty for a commit of labels."""
    by_vehicle: Mapping[str, int] = field(default_factory=dict)
    """Vehicle -> samples that it adds, negative for those that it removes. Imported samples are of vehicle ""."""
