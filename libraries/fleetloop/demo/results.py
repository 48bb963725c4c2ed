"""The results of a demo run as values: the source of the table, the picture and both reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import lance

from fleetloop.demo.loop_client import LoopState
from fleetloop.demo.vehicles import DriveResult
from fleetloop.domain.rates import rate_interval
from fleetloop.kit.process.clock import ns_to_seconds
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2

RARE = "rare"
"""Name of the slice that pools all rare cases."""
RECALL = "recall"


@dataclass(frozen=True, slots=True)
class Rate:
    """Interventions and distance on the measured routes."""

    interventions: int
    km: float
    vehicles: int

    def per_100km(self) -> tuple[float, float, float]:
        """Return interventions per 100 km with the bounds of the exact 95 % Poisson interval: (value, low, high).

        With no distance the value is 0 and the upper bound is infinite.
        """
        low, high = rate_interval(self.interventions, self.km / 100)
        return (100 * self.interventions / self.km if self.km else 0.0), low, high


@dataclass(frozen=True, slots=True)
class LeadTime:
    """Median seconds from a firing's detection to each stage, over the samples that the turn added."""

    label: float
    dataset: float
    model: float
    last_vehicle: float | None
    """None if the model did not reach every vehicle."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the loop: from firings to the verdict on the model that was trained on them."""

    dataset_version: str
    model_version: str
    outcome: str
    """`released`, `rolled_back`, `withdrawn` or `rejected`."""
    reasons: Sequence[str]
    by_trigger: Mapping[str, int]
    labels_by_source: Mapping[str, int]
    refused: Mapping[str, int]
    added: int
    """Samples that the turn added."""
    samples: int
    """Samples of the version that the model was trained on."""
    recall_before: Mapping[str, tuple[float, float, float]]
    """Recall on the frozen test set by slice, as (value, low, high), of the model that drove before the turn."""
    recall_after: Mapping[str, tuple[float, float, float]]
    before: Rate
    """Interventions before the turn, by the vehicles that are compared."""
    after: Rate
    lead_time: LeadTime | None


@dataclass(frozen=True, slots=True)
class RecordedDrive:
    """How many frames of the recorded drive arrived where."""

    source: str
    frames_sent: int
    frames_archived: int
    frames_duplicated: int
    firings: int


@dataclass(slots=True)
class DemoResults:
    """Everything that a demo run measured. Filled in as the run proceeds."""

    recorded_drive: RecordedDrive | None = None
    first_model: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    drives: list[DriveResult] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)
    wall_s: float = 0.0
    simulated_rate: float = 0.0
    """Simulated vehicle-seconds per wall-clock second while vehicles drive."""


def recalls(metrics: Sequence[training_pb2.Metric], task: str = "stop_sign") -> dict[str, tuple[float, float, float]]:
    """Return the recall of one task by slice, as (value, low, high)."""
    found = [m for m in metrics if m.task == task and m.name == RECALL]
    return {m.slice: (m.value, m.low, m.high) for m in found}


_OUTCOMES = {
    rollout_pb2.ROLLOUT_STATE_COMPLETED: "released",
    rollout_pb2.ROLLOUT_STATE_ROLLED_BACK: "rolled_back",
    rollout_pb2.ROLLOUT_STATE_WITHDRAWN: "withdrawn",
}


def turn_of(state: LoopState, before: DriveResult, after: DriveResult) -> Turn:
    """Describe the newest turn.

    Args:
        state: What the services report; at least two runs are evaluated, newest first.
        before: The measured drive before the turn.
        after: The same routes, driven after the turn.
    """
    evaluated = [run for run in state.runs if run.state == training_pb2.RUN_STATE_EVALUATED]
    run, previous_run = evaluated[0], evaluated[1]
    new_versions = _versions_between(state, previous_run.dataset_version, run)
    version = new_versions[0]
    rollout = next((each for each in state.rollouts if each.model_digest == run.model_digest), None)
    model = next((each for each in state.models if each.model_digest == run.model_digest), None)
    outcome, reasons = "rejected", list(run.reasons)
    if run.verdict == training_pb2.VERDICT_PASSED and rollout is not None:
        outcome, reasons = _OUTCOMES[rollout.state], [*run.reasons, *rollout.reasons]
    drove_after = run.model_digest if outcome == "released" else run.parent_model_digest
    # A vehicle that received a further candidate during a drive drove part of its route with another model. It is
    # left out of both drives, so that the compared routes stay the same.
    compared = [
        name
        for name, drive in after.vehicles.items()
        if drive.active == drove_after and before.vehicles[name].active == run.parent_model_digest
    ]
    rows = [row for each in new_versions for row in _added_rows(each)]
    sources = Counter(str(row["label_source"]) for row in rows)
    by_trigger: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for each in new_versions:
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
        added=sum(each.added for each in new_versions),
        samples=version.samples,
        recall_before=recalls(run.parent_metrics),
        recall_after=recalls(run.metrics),
        before=_rate(before, compared),
        after=_rate(after, compared),
        lead_time=_lead_time(rows, version, model, rollout, outcome),
    )


def _rate(driven: DriveResult, names: Sequence[str]) -> Rate:
    """Sum up the interventions and autopilot kilometres of the named vehicles."""
    drives = [driven.vehicles[name] for name in names]
    return Rate(sum(each.interventions for each in drives), sum(each.autopilot_km for each in drives), len(drives))


def _versions_between(
    state: LoopState, after: str, run: training_pb2.RunChanged
) -> list[dataset_pb2.DatasetCommitted]:
    """Return the versions after `after` up to the one that `run` was trained on, newest first."""
    versions = [version for version in state.versions if version.dataset == run.dataset]
    names = [version.version for version in versions]
    return versions[names.index(run.dataset_version) : names.index(after)]


def _added_rows(version: dataset_pb2.DatasetCommitted) -> list[dict[str, object]]:
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
