"""What the router works with: firings, clips, rules, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Drop(StrEnum):
    """Why a firing is dropped."""

    FALSE_ALARM = "false_alarm"
    BORING = "boring"
    DUPLICATE_PLACE = "duplicate_place"
    OVER_BUDGET = "over_budget"
    NO_ROUTE = "no_route"
    CLIP_EXPIRED = "clip_expired"


class Progress(StrEnum):
    """How far a firing has come through the router."""

    CLIP_WANTED = "clip_wanted"
    ROUTED = "routed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Firing:
    """A moment at which a trigger fired."""

    firing_id: str
    vehicle_id: str
    trigger: str
    task: str
    project_hint: str
    model_digest: str
    onset_utc_ns: int
    conditions: frozenset[str]
    evidence: Mapping[str, float]
    latitude_deg: float | None
    longitude_deg: float | None
    bytes_per_vehicle_day: int
    """Limit on clip bytes of the trigger; 0 for no limit."""
    detected_at_utc_ns: int = 0
    event: bytes = b""
    """The serialised TriggerFired, kept whole: the command and the label task repeat what it says."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A stored clip."""

    firing_id: str
    """Firing that asked for it; empty when none did."""
    vehicle_id: str
    size_bytes: int
    event: bytes
    """The serialised ClipStored."""


@dataclass(frozen=True, slots=True)
class RoutedFiring:
    """A firing with what was decided on it, as operators see it."""

    firing_id: str
    vehicle_id: str
    trigger: str
    progress: Progress
    reason: str
    detail: str
    task_id: str
    """Label task that it became; empty while it has none."""
    decided_at_utc_ns: int


@dataclass(frozen=True, slots=True)
class Check:
    """A comparison with a firing's evidence. Evidence that is missing satisfies no check."""

    signal: str
    below: float | None = None
    above: float | None = None


@dataclass(frozen=True, slots=True)
class DropRule:
    """Firings that are not worth a label."""

    reason: Drop
    detail: str
    triggers: Sequence[str]
    """Globs of trigger names."""
    checks: Sequence[Check]
    """All must hold."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where firings go. The first route whose globs match a trigger applies."""

    project: str
    triggers: Sequence[str]
    dataset: str
    task: str
    """Empty for the trigger's own task."""
    sources: Sequence[str]
    agreement: int
    priority: int


@dataclass(frozen=True, slots=True)
class Routing:
    """The content of config/routing.yaml."""

    routes: Sequence[Route]
    drops: Sequence[DropRule]
    cell_m: float
    """Side in metres of the square cells into which positions are grouped."""
    per_cell: int
    """Most firings of one trigger and model that are routed from one cell within `cell_window_s`."""
    cell_window_s: float
    clip_expires_s: float
    repeat_s: float
    """Seconds after which a clip that has not come is requested again."""
    task_schema_version: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What a decision on a firing needs to know of earlier firings."""

    in_cell: int
    """Firings of the same trigger and model in the same cell within the window that were not dropped."""
    vehicle_bytes_today: int
    """Clip bytes that the vehicle sent for this trigger on the firing's UTC day."""
    clips_on_their_way: int = 0
    """Clips of that day that were requested and have not come."""
    clip_bytes: int = 0
    """Usual size of a clip of this trigger, from those that came; 0 when none has come."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Decision: the firing is dropped."""

    reason: Drop
    detail: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Decision: the firing's clip is requested, for this route."""

    route: Route
    task: str
