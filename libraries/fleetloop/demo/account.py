"""What a run of the demo came to, as values: the source of the table, the picture and both reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import lance

from fleetloop.demo.vehicles import Driven
from fleetloop.demo.watch import Glance
from fleetloop.domain.rates import rate_interval
from fleetloop.kit.process.clock import ns_to_seconds
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2

RARE, ALL_METRIC = "rare", "recall"


@dataclass(frozen=True, slots=True)
class Rate:
    """Interventions per 100 km on the measured routes, with the exact Poisson interval."""

    interventions: int
    km: float
    vehicles: int

    def per_100km(self) -> tuple[float, float, float]:
        """Value, lower and upper end of the 95 % interval."""
        low, high = rate_interval(self.interventions, self.km / 100)
        return (100 * self.interventions / self.km if self.km else 0.0), low, high


@dataclass(frozen=True, slots=True)
class LeadTime:
    """Median seconds from a trigger's detection to each stage, over the samples that were new in the version."""

    label: float
    dataset: float
    model: float
    last_vehicle: float | None
    """None: the model never reached every vehicle."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the loop: from firings to a verdict on the model that came of them."""

    dataset_version: str
    model_version: str
    outcome: str
    """released, rolled_back or rejected."""
    reasons: Sequence[str]
    by_trigger: Mapping[str, int]
    labels_by_source: Mapping[str, int]
    refused: Mapping[str, int]
    added: int
    samples: int
    recall_before: Mapping[str, tuple[float, float, float]]
    """Slice -> recall on the frozen test set with its interval, of the model that drove before."""
    recall_after: Mapping[str, tuple[float, float, float]]
    before: Rate
    after: Rate
    lead_time: LeadTime | None


@dataclass(frozen=True, slots=True)
class RecordedDrive:
    """What became of the recorded drive's frames."""

    source: str
    frames_sent: int
    frames_archived: int
    frames_duplicated: int
    firings: int


@dataclass(slots=True)
class Account:
    """All of it."""

    recorded_drive: RecordedDrive | None = None
    first_model: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    drives: list[Driven] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)
    wall_s: float = 0.0
    simulated_rate: float = 0.0
    """Simulated vehicle-seconds a wall second while driving."""


def recalls(metrics: Sequence[training_pb2.Metric], task: str = "stop_sign") -> dict[str, tuple[float, float, float]]:
    """Slice -> recall with its interval."""
    found = [m for m in metrics if m.task == task and m.name == ALL_METRIC]
    return {m.slice: (m.value, m.low, m.high) for m in found}


def turn_of(glance: Glance, before: Driven, after: Driven) -> Turn:
    """The newest turn, from what the services say and what the vehicles drove before and after it."""
    examined = [run for run in glance.runs if run.state == training_pb2.RUN_STATE_EVALUATED]
    run, run_before = examined[0], examined[1]
    news = _versions_between(glance, run_before.dataset_version, run)
    version = news[0]
    rollout = next((each for each in glance.rollouts if each.model_digest == run.model_digest), None)
    model = next((each for each in glance.models if each.model_digest == run.model_digest), None)
    outcome, reasons = "rejected", list(run.reasons)
    if run.verdict == training_pb2.VERDICT_PASSED and rollout is not None:
        back = rollout.state == rollout_pb2.ROLLOUT_STATE_ROLLED_BACK
        outcome, reasons = ("rolled_back" if back else "released"), [*run.reasons, *rollout.reasons]
    drove_after = run.model_digest if outcome == "released" else run.parent_model_digest
    # A vehicle that a further candidate reached meanwhile drove part of its route with another model: it is left out,
    # of both drives, so that the routes stay the same.
    whole = [
        name
        for name, drive in after.vehicles.items()
        if drive.active == drove_after and before.vehicles[name].active == run.parent_model_digest
    ]
    rows = [row for each in news for row in _new_rows(each)]
    sources = Counter(str(row["label_source"]) for row in rows)
    by_trigger: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for each in news:
        by_trigger.update({f"{row.trigger} v{row.version}": row.samples for row in each.by_trigger if row.trigger})
        refused.update(dict(each.refused))
    return Turn(
        dataset_version=version.version,
        model_version=model.model_version if model else "",
        outcome=outcome,
        reasons=reasons,
        by_trigger=dict(by_trigger),
        labels_by_source=dict(sources),
        refused=dict(refused),
        added=sum(each.added for each in news),
        samples=version.samples,
        recall_before=recalls(run.parent_metrics),
        recall_after=recalls(run.metrics),
        before=_rate(before, whole),
        after=_rate(after, whole),
        lead_time=_lead_time(rows, version, model, rollout, outcome),
    )


def _rate(driven: Driven, names: Sequence[str]) -> Rate:
    mine = [driven.vehicles[name] for name in names]
    return Rate(sum(v.interventions for v in mine), sum(v.autopilot_km for v in mine), len(mine))


def _versions_between(glance: Glance, after: str, run: training_pb2.RunChanged) -> list[dataset_pb2.DatasetCommitted]:
    """Versions that a run compiled and the run before it did not, newest first."""
    versions = [version for version in glance.versions if version.dataset == run.dataset]
    names = [version.version for version in versions]
    return versions[names.index(run.dataset_version) : names.index(after)]


def _new_rows(version: dataset_pb2.DatasetCommitted) -> list[dict[str, object]]:
    table = lance.dataset(version.table_address, version=version.lance_tag)
    columns = ["sample_id", "detected_at_utc_ns", "labelled_at_utc_ns", "label_source"]
    wanted = set(version.added_sample_ids)
    return [row for row in table.to_table(columns=columns).to_pylist() if row["sample_id"] in wanted]


def _lead_time(
    rows: Sequence[Mapping[str, object]],
    version: dataset_pb2.DatasetCommitted,
    model: rollout_pb2.ModelChanged | None,
    rollout: rollout_pb2.Rollout | None,
    outcome: str,
) -> LeadTime | None:
    if not rows or model is None:
        return None

    def since_detection(at_ns: object) -> float:
        return median(ns_to_seconds(int(str(at_ns)) - int(str(row["detected_at_utc_ns"]))) for row in rows)

    label_s = median(
        ns_to_seconds(int(str(row["labelled_at_utc_ns"])) - int(str(row["detected_at_utc_ns"]))) for row in rows
    )
    reached = outcome == "released" and rollout is not None and rollout.last_attested_at_utc_ns > 0
    return LeadTime(
        label=label_s,
        dataset=since_detection(version.committed_at_utc_ns),
        model=since_detection(model.changed_at_utc_ns),
        last_vehicle=since_detection(rollout.last_attested_at_utc_ns) if reached and rollout else None,
    )
