"""What the keeper works with: campaigns and their triggers, and what a trigger version earned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """State of a campaign."""

    DRAFT = "draft"
    WAITING = "waiting"
    RUNNING = "running"
    SUSPENDED = "suspended"
    FINISHED = "finished"


class Count(StrEnum):
    """Counters of the ledger, in the order of the way through the loop."""

    FIRED = "fired"
    CLIPS = "clips"
    CLIP_BYTES = "clip_bytes"
    TASKS = "tasks"
    LABELLED = "labelled"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class TriggerDefinition:
    """A trigger of a campaign."""

    name: str
    version: int
    task: str
    """Task of the labels that it wants; empty when the route decides."""
    cameras: Sequence[str]
    quota_labels: int
    """Labels after which it has ended; 0 for no quota."""
    content: bytes
    """The whole definition except its version, serialised deterministically: equal triggers have equal content."""


@dataclass(frozen=True, slots=True)
class FinishedTrigger:
    """A trigger that has ended because its quota was met."""

    trigger: TriggerDefinition
    reason: str
    finished_at_utc_ns: int


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign, as one of its revisions has it or as a request asks for it."""

    campaign: str
    """Its name."""
    state: State | None
    """None where a request names no state."""
    triggers: tuple[TriggerDefinition, ...] = ()
    finished: tuple[FinishedTrigger, ...] = ()
    in_force_from_utc_ns: int = 0
    """Event time from which on the revision counts; 0 for all events."""
    reason: str = ""
    revision: int = 0
    published_at_utc_ns: int = 0
    changed_by: str = ""
    """Identity of who made the revision; empty when the keeper did."""
    approved_by: str = ""
    approved_at_utc_ns: int = 0
    authors: tuple[str, ...] = ()
    """Identities that changed its triggers since it was last approved, sorted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field of a trigger."""

    trigger: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a campaign's files changed, or would change. Names of triggers, sorted."""

    campaign: Campaign
    """The campaign afterwards; unchanged when there are problems, and in a dry run."""
    added: Sequence[str]
    changed: Sequence[str]
    removed: Sequence[str]
    finished: Sequence[str]
    """Triggers that stay ended, because they are applied unchanged."""
    problems: Sequence[Problem]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an event of the loop comes from: its trigger version, or only its firing."""

    firing_id: str
    campaign: str = ""
    trigger: str = ""
    trigger_version: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter of a trigger version after something was added."""

    campaign: str
    trigger: str
    version: int
    value: int


@dataclass(slots=True)
class Earnings:
    """The outcomes of a trigger version's firings."""

    campaign: str
    trigger: str
    version: int
    fired: int = 0
    clips: int = 0
    clip_bytes: int = 0
    tasks: int = 0
    labelled: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason -> firings that triage dropped. The router counts by trigger: only the newest version has them."""


@dataclass(frozen=True, slots=True)
class InForceReport:
    """What a process that evaluates triggers says it has in force."""

    reporter: str
    """The process."""
    message: bytes
    """The serialised ReportInForceRequest."""
    reported_at_utc_ns: int
