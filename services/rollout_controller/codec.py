"""Protobuf to the controller's model and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fleetloop.domain.messages import event_of, parse
from fleetloop.domain.reports import report_in
from fleetloop.domain.topics import COMMAND, MODEL
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.process.clock import ns_to_seconds, seconds_to_ns
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller.core import against_needed, in_favour_needed
from rollout_controller.lifecycle import possible_events
from rollout_controller.model import (
    Assignment,
    Cohort,
    CohortTotals,
    CommittedVersion,
    Decisions,
    Evidence,
    ModelChange,
    PassedRun,
    Position,
    Report,
    RolloutPlan,
    RolloutStatus,
    Stage,
    Stop,
)

STAGES = {
    Stage.REGISTERED: rollout_pb2.MODEL_STAGE_REGISTERED,
    Stage.SHADOWING: rollout_pb2.MODEL_STAGE_SHADOWING,
    Stage.CANARY: rollout_pb2.MODEL_STAGE_CANARY,
    Stage.RELEASED: rollout_pb2.MODEL_STAGE_RELEASED,
    Stage.ROLLED_BACK: rollout_pb2.MODEL_STAGE_ROLLED_BACK,
    Stage.WITHDRAWN: rollout_pb2.MODEL_STAGE_WITHDRAWN,
}
_STAGES_BY_NUMBER = {number: stage for stage, number in STAGES.items()}
COHORTS = {
    Cohort.CONTROL: health_pb2.COHORT_CONTROL,
    Cohort.SHADOW: health_pb2.COHORT_SHADOW,
    Cohort.CANARY: health_pb2.COHORT_CANARY,
}
_COHORTS_BY_NUMBER = {number: cohort for cohort, number in COHORTS.items()}
UNUSABLE = "model_unusable"
"""The fault of a vehicle that could not load a model, and therefore attests another one."""
MODEL_FAULTS = ("inference_failed", "shadow_inference_failed", "values_out_of_range")
"""Faults of a model that runs. Full spools, missing clips and metadata that cannot be trusted are none."""
_FETCH_EXPIRES_S = 86_400.0
_VERSION = re.compile(r"v([1-9][0-9]{0,8})", re.ASCII)


def passed_run_in(record: Record) -> PassedRun | None:
    """The run in a record of fleet.training.v1; None unless its model passed the examination.

    Raises UnreadableMessageError when a run that passed names no model.
    """
    run = parse(training_pb2.RunChanged, record)
    if run.state != training_pb2.RUN_STATE_EVALUATED or run.verdict != training_pb2.VERDICT_PASSED:
        return None
    for name in ("model_digest", "artifact_address"):
        if not getattr(run, name):
            raise UnreadableMessageError(f"{name}: is empty in a run that passed")
    return passed_run(run)


def passed_run(run: training_pb2.RunChanged) -> PassedRun:
    """A RunChanged as a value."""
    return PassedRun(
        model_digest=run.model_digest,
        artifact_address=run.artifact_address,
        reasons=tuple(run.reasons),
        event=run.SerializeToString(),
        dataset=run.dataset,
        dataset_number=_number_of(run.dataset_version) or 0,
        evaluated_at_utc_ns=run.changed_at_utc_ns,
        started_by=run.started_by,
    )


def _number_of(version: str) -> int | None:
    """7 for v7; None for anything else."""
    found = _VERSION.fullmatch(version)
    return int(found[1]) if found else None


def version_in(record: Record) -> CommittedVersion:
    """The dataset version in a record of fleet.dataset.v1. Raises UnreadableMessageError when it has no number."""
    committed = parse(dataset_pb2.DatasetCommitted, record)
    number = _number_of(committed.version)
    if number is None:
        raise UnreadableMessageError(f"version: {committed.version!r} is not a version such as v7")
    return CommittedVersion(
        dataset=committed.dataset,
        number=number,
        frozen=committed.frozen,
        committed_at_utc_ns=committed.committed_at_utc_ns,
        detected_at_utc_ns=tuple(committed.detected_at_utc_ns),
        removed_detected_at_utc_ns=tuple(committed.retraction.removed_detected_at_utc_ns),
    )


def passed_run_from(event: bytes) -> PassedRun:
    """The run whose serialised RunChanged is kept."""
    return passed_run(training_pb2.RunChanged.FromString(event))


def report_of(record: Record) -> Report:
    """The report in a record of fleet.health.v1. Raises UnreadableMessageError."""
    report = report_in(record)
    return Report(
        vehicle_id=report.vehicle_id,
        boot=report.boot_id,
        sequence=report.sequence,
        end_utc_ns=report.end_utc_ns,
        window_s=max(0.0, ns_to_seconds(report.end_utc_ns - report.start_utc_ns)),
        assignment=Assignment(
            active=report.model_digest,
            shadow=report.shadow_model_digest,
            rollout_id=report.rollout_id,
            cohort=_COHORTS_BY_NUMBER.get(report.cohort, Cohort.CONTROL),
        ),
        km=report.autopilot_km,
        interventions=report.interventions + report.overrides,
        decisions=Decisions(
            total=report.shadow_decisions,
            prevented=report.shadow_would_have_prevented,
            avoided=report.shadow_would_have_avoided,
            missed=report.shadow_would_have_missed,
            false_stops=report.shadow_false_alarms,
        ),
        faults=sum(report.faults[name] for name in MODEL_FAULTS if name in report.faults),
        unusable=UNUSABLE in report.faults,
        inference_p99_ms=report.inference_p99_ms,
        conditions=report.conditions,
    )


def change_of(
    run: PassedRun,
    *,
    number: int,
    stage: Stage,
    canary_percent: int,
    rollout_id: str,
    previous: str,
    reasons: Iterable[str],
    sequence: int,
    now_utc_ns: int,
) -> ModelChange:
    """The change of a model that `run` made."""
    message = training_pb2.RunChanged.FromString(run.event)
    return ModelChange(
        event_id=causal_id("model", run.model_digest, rollout_id, stage.value, canary_percent, sequence),
        model_digest=run.model_digest,
        model_version=f"model-{number}",
        stage=stage,
        canary_percent=canary_percent,
        artifact_address=run.artifact_address,
        dataset=message.dataset,
        dataset_version=message.dataset_version,
        run_id=message.run_id,
        rollout_id=rollout_id,
        reasons=tuple(reasons),
        changed_at_utc_ns=now_utc_ns,
        sequence=sequence,
        previous_model_digest=previous,
        latest_detected_at_utc_ns=message.latest_detected_at_utc_ns,
        earliest_detected_at_utc_ns=message.earliest_detected_at_utc_ns,
    )


def change_message(change: ModelChange) -> rollout_pb2.ModelChanged:
    """A change as a message."""
    return rollout_pb2.ModelChanged(
        event_id=change.event_id,
        model_digest=change.model_digest,
        model_version=change.model_version,
        stage=STAGES[change.stage],
        canary_percent=change.canary_percent,
        artifact_address=change.artifact_address,
        dataset=change.dataset,
        dataset_version=change.dataset_version,
        run_id=change.run_id,
        rollout_id=change.rollout_id,
        reasons=change.reasons,
        changed_at_utc_ns=change.changed_at_utc_ns,
        sequence=change.sequence,
        previous_model_digest=change.previous_model_digest,
        latest_detected_at_utc_ns=change.latest_detected_at_utc_ns,
        earliest_detected_at_utc_ns=change.earliest_detected_at_utc_ns,
    )


def change_bytes(change: ModelChange) -> bytes:
    """A change as it is kept."""
    return change_message(change).SerializeToString()


def change_from(raw: bytes) -> ModelChange:
    """A change that was kept."""
    message = rollout_pb2.ModelChanged.FromString(raw)
    return ModelChange(
        event_id=message.event_id,
        model_digest=message.model_digest,
        model_version=message.model_version,
        stage=_STAGES_BY_NUMBER[message.stage],
        canary_percent=message.canary_percent,
        artifact_address=message.artifact_address,
        dataset=message.dataset,
        dataset_version=message.dataset_version,
        run_id=message.run_id,
        rollout_id=message.rollout_id,
        reasons=tuple(message.reasons),
        changed_at_utc_ns=message.changed_at_utc_ns,
        sequence=message.sequence,
        previous_model_digest=message.previous_model_digest,
        latest_detected_at_utc_ns=message.latest_detected_at_utc_ns,
        earliest_detected_at_utc_ns=message.earliest_detected_at_utc_ns,
    )


def stages_of(numbers: Iterable[rollout_pb2.ModelStage.ValueType]) -> Sequence[Stage | None]:
    """Stages that a request names; None for a number that is no stage."""
    return [_STAGES_BY_NUMBER.get(number) for number in numbers]


def model_event(change: ModelChange) -> Event:
    """The announcement of a change."""
    return event_of(MODEL, change.model_digest, change.event_id, change_message(change), change.changed_at_utc_ns)


def fetch_command(fleet_id: str, vehicle_id: str, rollout_id: str, version: int, now_utc_ns: int) -> Event:
    """Tells a vehicle that its director has a new assignment. Only signed metadata says which."""
    command_id = causal_id("fetch", vehicle_id, version)
    command = command_pb2.VehicleCommand(
        command_id=command_id,
        fleet_id=fleet_id,
        vehicle_id=vehicle_id,
        issued_at_utc_ns=now_utc_ns,
        expires_at_utc_ns=now_utc_ns + seconds_to_ns(_FETCH_EXPIRES_S),
        fetch_model=command_pb2.FetchModel(rollout_id=rollout_id),
    )
    return event_of(COMMAND, vehicle_id, command_id, command, now_utc_ns)


def rollout_message(status: RolloutStatus, plan: RolloutPlan) -> rollout_pb2.Rollout:
    """A rollout as operators see it."""
    rollout = status.rollout
    if rollout.is_open:
        state = rollout_pb2.ROLLOUT_STATE_RUNNING
    elif rollout.position.stage is Stage.ROLLED_BACK:
        state = rollout_pb2.ROLLOUT_STATE_ROLLED_BACK
    elif rollout.position.stage is Stage.WITHDRAWN:
        state = rollout_pb2.ROLLOUT_STATE_WITHDRAWN
    else:
        state = rollout_pb2.ROLLOUT_STATE_COMPLETED
    return rollout_pb2.Rollout(
        rollout_id=rollout.rollout_id,
        model_digest=rollout.digest,
        state=state,
        stage=STAGES[rollout.position.stage],
        canary_percent=rollout.position.canary_percent,
        vehicles=status.vehicles,
        stage_began_at_utc_ns=rollout.position.stage_began_at_utc_ns,
        reasons=rollout.reasons,
        attested=status.attested,
        last_attested_at_utc_ns=rollout.last_attested_at_utc_ns,
        silent_vehicles=status.silent_vehicles,
        approved_by=rollout.approved_by,
        running_s=rollout.position.running_s,
        evidence=evidence_message(status.evidence, rollout.position, plan),
        tries=rollout.tries,
        paused_by=rollout.paused_by,
        pause_reason=rollout.pause_reason,
        possible=[event.value for event in possible_events(rollout)],
    )


def stop_message(stop: Stop | None) -> rollout_pb2.RolloutStop | None:
    """Who stopped all rollouts; None while they are not stopped."""
    if stop is None:
        return None
    return rollout_pb2.RolloutStop(stopped_by=stop.by, reason=stop.reason, stopped_at_utc_ns=stop.at_utc_ns)


def evidence_message(evidence: Evidence, position: Position, plan: RolloutPlan) -> rollout_pb2.Evidence:
    """The evidence that decides at a position, as operators see it."""
    score = evidence.shadow_score if position.stage is Stage.SHADOWING else evidence.score
    return rollout_pb2.Evidence(
        in_favour=score.in_favour,
        against=score.against,
        in_favour_needed=in_favour_needed(position, plan),
        against_needed=against_needed(plan),
        tolerated_vehicles=evidence.tolerated,
        canary=_cohort_message(evidence.canary),
        control=_cohort_message(evidence.control),
        shadow=_cohort_message(evidence.shadow),
        decisions=evidence.decisions.total,
        would_have_prevented=evidence.decisions.prevented,
        would_have_avoided=evidence.decisions.avoided,
        would_have_missed=evidence.decisions.missed,
        false_alarms=evidence.decisions.false_stops,
        refused_reports=evidence.refused,
        outliers=evidence.outliers,
    )


def _cohort_message(totals: CohortTotals) -> rollout_pb2.CohortEvidence:
    return rollout_pb2.CohortEvidence(
        vehicles=totals.vehicles,
        km=totals.km,
        interventions=totals.interventions,
        faulty_vehicles=totals.faulty,
        slow_vehicles=totals.slow,
    )
