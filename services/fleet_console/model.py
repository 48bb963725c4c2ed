"""What the services answered, and what the pages show of it: values without user interface or network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fleetloop.protos.archive.v1 import archive_pb2
from fleetloop.protos.campaign.v1 import campaign_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.protos.monitor.v1 import monitor_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.route.v1 import route_pb2
from fleetloop.protos.training.v1 import training_pb2


@dataclass(frozen=True, slots=True)
class Facts:
    """The newest answer of every service; a service that is away keeps its last one, or an empty one."""

    archive: archive_pb2.GetArchiveResponse = field(default_factory=archive_pb2.GetArchiveResponse)
    ledger: campaign_pb2.GetLedgerResponse = field(default_factory=campaign_pb2.GetLedgerResponse)
    firings: route_pb2.CountFiringsResponse = field(default_factory=route_pb2.CountFiringsResponse)
    progress: label_pb2.GetProgressResponse = field(default_factory=label_pb2.GetProgressResponse)
    agreement: label_pb2.GetAgreementResponse = field(default_factory=label_pb2.GetAgreementResponse)
    versions: dataset_pb2.ListVersionsResponse = field(default_factory=dataset_pb2.ListVersionsResponse)
    runs: training_pb2.ListRunsResponse = field(default_factory=training_pb2.ListRunsResponse)
    models: rollout_pb2.ListModelsResponse = field(default_factory=rollout_pb2.ListModelsResponse)
    rollouts: rollout_pb2.ListRolloutsResponse = field(default_factory=rollout_pb2.ListRolloutsResponse)
    vehicles: monitor_pb2.ListVehiclesResponse = field(default_factory=monitor_pb2.ListVehiclesResponse)
    cohorts: monitor_pb2.CompareCohortsResponse = field(default_factory=monitor_pb2.CompareCohortsResponse)
    away: Mapping[str, str] = field(default_factory=dict)
    """Services that did not answer, with the reason in words."""
    heard: frozenset[str] = frozenset()
    """Services that answered at least once."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counters at one poll, None for a service that did not answer. A rate is the difference between two polls."""

    at_monotonic_ns: int
    frames: int | None = None
    fired: int | None = None
    clips: int | None = None
    labels: int | None = None


class Tone(StrEnum):
    """What a figure means; it decides the page's colours and icons."""

    PLAIN = "plain"
    BUSY = "busy"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the loop."""

    name: str
    figure: str
    unit: str
    rate: str
    note: str
    tone: Tone = Tone.PLAIN
    away: str = ""
    """Why the service behind it does not answer; empty when it does."""


@dataclass(frozen=True, slots=True)
class DrivenModel:
    """One model and what the fleet does with it."""

    name: str
    digest: str
    stage: str
    driving: int
    shadowing: int
    share: float
    """Of the vehicles that reported, 0 to 1."""
    km: float
    interventions: int
    per_100km: tuple[float, float, float] | None
    """Interventions per 100 km with the exact 95 % Poisson interval; None before the first kilometre."""


@dataclass(frozen=True, slots=True)
class Staircase:
    """Recall per slice of the frozen test set, model after model."""

    models: Sequence[str]
    slices: Mapping[str, Sequence[tuple[float, float, float] | None]]
    """Slice -> per model value, lower and upper end, 0 to 1; None where it was not measured."""


Row = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class LoopView:
    """All that the loop's page shows."""

    stages: Sequence[Stage]
    models: Sequence[DrivenModel]
    fleet_note: str
    staircase: Staircase
    triggers: Sequence[Row]
    versions: Sequence[Row]
    runs: Sequence[Row]
    rollouts: Sequence[Row]
    away: Mapping[str, str]
