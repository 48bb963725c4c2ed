"""Protobuf to the controller's model and back."""

from __future__ import annotations

from collections.abc import Iterable

from fleetloop.domain.messages import event_of
from fleetloop.domain.topics import COMMAND, MODEL
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.monitor.v1 import monitor_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2
from fleetloop.protos.training.v1 import training_pb2
from rollout_controller.model import Cohort, Evidence, Stage, Totals

STAGES = {
    Stage.REGISTERED: rollout_pb2.MODEL_STAGE_REGISTERED,
    Stage.SHADOWING: rollout_pb2.MODEL_STAGE_SHADOWING,
    Stage.CANARY: rollout_pb2.MODEL_STAGE_CANARY,
    Stage.RELEASED: rollout_pb2.MODEL_STAGE_RELEASED,
    Stage.ROLLED_BACK: rollout_pb2.MODEL_STAGE_ROLLED_BACK,
}
COHORTS = {
    Cohort.CONTROL: health_pb2.COHORT_CONTROL,
    Cohort.SHADOW: health_pb2.COHORT_SHADOW,
    Cohort.CANARY: health_pb2.COHORT_CANARY,
}
MODEL_FAULTS = ("inference_failed", "silent_inference_failed", "model_refused", "values_out_of_range")
"""Faults that speak against a model; a full spool or a clip that is gone does not."""
_FETCH_EXPIRES_S = 86_400.0


def change_of(
    run: training_pb2.RunChanged,
    *,
    number: int,
    stage: Stage,
    canary_percent: int,
    rollout_id: str,
    previous: str,
    reasons: Iterable[str],
    sequence: int,
    now_utc_ns: int,
) -> rollout_pb2.ModelChanged:
    """The new-model event for a model that `run` made."""
    return rollout_pb2.ModelChanged(
        event_id=causal_id("model", run.model_digest, rollout_id, stage.value, canary_percent),
        model_digest=run.model_digest,
        model_version=f"model-{number}",
        stage=STAGES[stage],
        canary_percent=canary_percent,
        artifact_address=run.artifact_address,
        dataset=run.dataset,
        dataset_version=run.dataset_version,
        run_id=run.run_id,
        rollout_id=rollout_id,
        reasons=list(reasons),
        changed_at_utc_ns=now_utc_ns,
        sequence=sequence,
        previous_model_digest=previous,
        latest_detected_at_utc_ns=run.latest_detected_at_utc_ns,
        earliest_detected_at_utc_ns=run.earliest_detected_at_utc_ns,
    )


def model_event(change: rollout_pb2.ModelChanged) -> Event:
    """The announcement of a change."""
    return event_of(MODEL, change.model_digest, change.event_id, change, change.changed_at_utc_ns)


def fetch_command(fleet_id: str, vehicle_id: str, rollout_id: str, version: int, now_utc_ns: int) -> Event:
    """Tells a vehicle that its director has something new. What it is stands in signed metadata alone."""
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
