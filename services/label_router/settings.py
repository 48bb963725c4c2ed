"""Settings of label_router, and the routing rules that users edit."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fleetloop.kit.process.settings import ServiceSettings, load_edited
from label_router.model import Check, Drop, DropRule, Route, Routing


class LabelRouterSettings(ServiceSettings):
    """Settings of the router, in addition to those of every service."""

    tick_s: float = Field(1.0, gt=0, description="Seconds between two checks for clips to request again.")
    keep_firings_s: float = Field(
        90 * 86_400.0,
        gt=8 * 86_400.0,
        description="Seconds after which a decided firing is pruned; longer than its topic keeps it.",
    )
    keep_early_clips_s: float = Field(
        14 * 86_400.0,
        gt=8 * 86_400.0,
        description="Seconds after which a clip without a firing is pruned; longer than Kafka keeps firings.",
    )


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Check(_Strict):
    signal: str
    below: float | None = None
    above: float | None = None


class _DropRule(_Strict):
    reason: Literal["false_alarm", "boring"]
    detail: str
    triggers: tuple[str, ...] = ("*",)
    when: tuple[_Check, ...] = Field(min_length=1)


class _Route(_Strict):
    triggers: tuple[str, ...] = Field(min_length=1)
    dataset: str
    task: str = ""
    sources: tuple[Literal["human", "hindsight"], ...] = Field(min_length=1)
    agreement: int = Field(1, ge=1)
    priority: int = 0


class _RoutingFile(_Strict):
    projects: dict[str, _Route] = Field(min_length=1)
    drops: tuple[_DropRule, ...] = ()
    cell_m: float = Field(gt=0)
    per_cell: int = Field(ge=1)
    cell_window_s: float = Field(gt=0)
    clip_expires_s: float = Field(gt=0)
    repeat_s: float = Field(gt=0)


def load_routing(path: Path) -> Routing:
    """Read config/routing.yaml. Raises SettingsError that names the field."""
    raw = load_edited(path, _RoutingFile)
    return Routing(
        routes=[Route(project=name, **entry.model_dump()) for name, entry in raw.projects.items()],
        drops=[
            DropRule(Drop(r.reason), r.detail, r.triggers, [Check(c.signal, c.below, c.above) for c in r.when])
            for r in raw.drops
        ],
        cell_m=raw.cell_m,
        per_cell=raw.per_cell,
        cell_window_s=raw.cell_window_s,
        clip_expires_s=raw.clip_expires_s,
        repeat_s=raw.repeat_s,
    )
