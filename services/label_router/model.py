"""What the router speaks of: firings, rules, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Drop(StrEnum):
    """Why a firing goes no further."""

    FALSE_ALARM = "false_alarm"
    BORING = "boring"
    DUPLICATE_PLACE = "duplicate_place"
    OVER_BUDGET = "over_budget"
    NO_ROUTE = "no_route"
    CLIP_EXPIRED = "clip_expired"


class Progress(StrEnum):
    """How far a firing has come."""

    CLIP_WANTED = "clip_wanted"
    ROUTED = "routed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Firing:
    """A moment that a trigger noticed."""

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
    """0: no limit."""


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
    """Globs."""
    checks: Sequence[Check]
    """All must hold."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where firings go. The first route whose globs match is taken."""

    project: str
    triggers: Sequence[str]
    dataset: str
    task: str
    """Empty: the trigger's own task."""
    sources: Sequence[str]
    agreement: int
    priority: int


@dataclass(frozen=True, slots=True)
class Routing:
    """config/routing.yaml."""

    routes: Sequence[Route]
    drops: Sequence[DropRule]
    cell_m: float
    """Side of the square cells that places are told apart by."""
    per_cell: int
    """Firings of one trigger and model that one cell may bring within `cell_window_s`."""
    cell_window_s: float
    clip_expires_s: float
    repeat_s: float
    """A command is sent again after so long without its clip."""
    task_schema_version: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What has happened before, as far as it bears on a firing."""

    in_cell: int
    """Firings of the same trigger and model in the same cell within the window that were not dropped."""
    vehicle_bytes_today: int
    """Clip bytes that the vehicle sent for this trigger on the firing's UTC day."""
    clips_on_their_way: int = 0
    """Clips of that day that were asked for and have not come."""
    clip_bytes: int = 0
    """What a clip of this trigger weighs, from those that came; 0: none has."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The firing goes no further."""

    reason: Drop
    detail: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """The firing's clip is wanted, for this route."""

    route: Route
    task: str
