"""What the desk works with: tasks, leases, votes, and how a task ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Source(StrEnum):
    """Who or what answers.

    A new source is added here and in label.proto; `codec.SOURCES` maps the two, and `core.decide` says what its votes
    count for. Every source but HUMAN counts as automatic: one vote above the confidence bound decides.
    """

    HUMAN = "human"
    HINDSIGHT = "hindsight"
    SENSOR = "sensor"
    MODEL = "model"


class Check(StrEnum):
    """Whether people check an automatic answer, and what their answer says."""

    NONE = ""
    OF_SOURCE = "source"
    """It counts for the source, and for the vehicle."""
    OF_VEHICLE = "vehicle"
    """It counts for the vehicle only: people contradicted its earlier answers, which would stop the whole source."""


class Outcome(StrEnum):
    """How a task ended."""

    AGREED = "agreed"
    CANNOT_TELL = "cannot_tell"
    DISPUTED = "disputed"


@dataclass(frozen=True, slots=True)
class Task:
    """A question about one moment of one clip."""

    task_id: str
    project: str
    task: str
    """Name of the task in config/tasks.yaml."""
    sources: frozenset[Source]
    """Who or what is asked."""
    agreement: int
    """Equal human answers that end the task."""
    priority: int
    clip_address: str
    moment_monotonic_ns: int
    """The moment by the vehicle's monotonic clock, which the clip uses too."""
    created_at_utc_ns: int
    event: bytes
    """The serialised LabelTaskCreated, kept whole: what ends the task repeats its provenance and its place."""
    vehicle_id: str = ""


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer of one author."""

    author: str
    source: Source
    answers: Mapping[str, str]
    """Task of the schema -> choice; empty when the author cannot tell."""
    confidence: float
    at_utc_ns: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A labeller's claim on a task, until it expires."""

    lease_id: str
    author: str
    expires_at_utc_ns: int

    def is_live(self, now_utc_ns: int) -> bool:
        """True until the lease expires."""
        return now_utc_ns < self.expires_at_utc_ns


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task and the lease on it that a labeller got."""

    task: Task
    lease: Lease


@dataclass(frozen=True, slots=True)
class Decision:
    """What the votes of a task decide, once they suffice to end it."""

    outcome: Outcome
    answers: Mapping[str, str]
    source: Source
    confidence: float
    """Share of the people asked who gave this answer, or the confidence of the automatic source."""


@dataclass(slots=True)
class ProjectProgress:
    """Counts of one project's tasks."""

    project: str
    open: int = 0
    leased: int = 0
    """Open tasks' leases that have not expired."""
    oldest_open_s: float = 0.0
    """Age of the oldest open task in seconds; 0 when none is open."""
    ended: dict[str, int] = field(default_factory=dict)
    """Outcome -> tasks."""
    by_source: dict[str, int] = field(default_factory=dict)
    """Source that decided -> tasks."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one camera, as it was recorded."""

    camera: str
    at_utc_ns: int
    is_moment: bool
    """True for the instant that the task asks about."""
    png: bytes
