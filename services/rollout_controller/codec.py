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
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.monitor.v1 import monitor_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller.model import (
    Attestation,
    Cohort,
    CommittedVersion,
    Evidence,
    ModelChange,
    PassedRun,
    RolloutStatus,
    Stage,
    Totals,
)

STAGES = {
    Stage.REGISTERED: rollout_pb2.MODEL_STAGE_REGISTERED,
    Stage.SHADOWING: rollout_pb2.MODEL_STAGE_SHADOWING,
    Stage.CANARY: rollout_pb2.MODEL_STAGE_CANARY,
    Stage.RELEASED: rollout_pb2.MODEL_STAGE_RELEASED,
    Stage.ROLLED_BACK: rollout_pb2.MODEL_STAGE_ROLLED_BACK,
}
_STAGES_BY_NUMBER = {number: stage for stage, number in STAGES.items()}
COHORTS = {
    Cohort.CONTROL: health_pb2.COHORT_CONTROL,
    Cohort.SHADOW: health_pb2.COHORT_SHADOW,
    Cohort.CANARY: health_pb2.COHORT_CANARY,
}
MODEL_FAULTS = ("inference_failed", "shadow_inference_failed", "model_refused", "values_out_of_range")
"""Faults that count against a model; a full spool or a missing clip does not."""
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
    )


def passed_run_from(event: bytes) -> PassedRun:
    """The run whose serialised RunChanged is kept."""
    return passed_run(training_pb2.RunChanged.FromString(event))


def attestation_in(record: Record) -> Attestation:
    """What the vehicle of a record of fleet.health.v1 ran. Raises UnreadableMessageError."""
    report = report_in(record)
    return Attestation(report.vehicle_id, report.model_digest, report.boot_id, report.sequence, report.end_utc_ns)


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
        event_id=causal_id("model", run.model_digest, rollout_id, stage.value, canary_percent),
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


def evidence_of(response: monitor_pb2.CompareCohortsResponse, candidate: str) -> Evidence:
    """The monitor's sums as evidence on one candidate."""

    def sum_of(rows: Iterable[monitor_pb2.CohortTotals]) -> Totals:
        kept = list(rows)
        return Totals(
            km=sum(row.autopilot_km for row in kept),
            interventions=sum(row.interventions for row in kept),
            shadow_frames=sum(row.shadow_frames for row in kept),
            would_have_prevented=sum(row.shadow_would_have_prevented for row in kept),
            false_alarms=sum(row.shadow_false_alarms for row in kept),
            faults=sum(row.faults[name] for row in kept for name in MODEL_FAULTS if name in row.faults),
            inference_p99_ms=max((row.inference_p99_ms_max for row in kept), default=0.0),
        )

    rows = response.cohorts
    return Evidence(
        shadow=sum_of(row for row in rows if row.shadow_model_digest == candidate),
        canary=sum_of(row for row in rows if row.model_digest == candidate),
        control=sum_of(row for row in rows if candidate not in (row.model_digest, row.shadow_model_digest)),
    )


def rollout_message(status: RolloutStatus) -> rollout_pb2.Rollout:
    """A rollout as operators see it."""
    rollout = status.rollout
    if rollout.is_open:
        state = rollout_pb2.ROLLOUT_STATE_RUNNING
    elif rollout.position.stage is Stage.ROLLED_BACK:
        state = rollout_pb2.ROLLOUT_STATE_ROLLED_BACK
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
    )
