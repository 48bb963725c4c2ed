"""Conversion between the agent's types and protobuf."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from vehicle_agent.model import ClipRequest, Report

_COHORTS = {
    "control": health_pb2.COHORT_CONTROL,
    "shadow": health_pb2.COHORT_SHADOW,
    "canary": health_pb2.COHORT_CANARY,
}


def batch_bytes(batch: FrameBatch) -> bytes:
    """Return the serialized request with a batch, for the spool and the wire."""
    return telemetry_pb2.StreamTelemetryRequest(batch=encode_batch(batch)).SerializeToString()


def report_bytes(fleet_id: str, vehicle_id: str, boot_id: bytes, report: Report) -> bytes:
    """Return the serialized request with a report."""
    message = health_pb2.VehicleReport(
        fleet_id=fleet_id,
        vehicle_id=vehicle_id,
        boot_id=boot_id,
        sequence=report.sequence,
        start_utc_ns=report.start_utc_ns,
        end_utc_ns=report.end_utc_ns,
        model_digest=report.model_digest,
        shadow_model_digest=report.shadow_digest,
        rollout_id=report.rollout_id,
        cohort=_COHORTS[report.cohort],
        autopilot_km=report.autopilot_km,
        distance_km=report.distance_km,
        interventions=report.interventions,
        map_disagreements=report.map_disagreements,
        flickers=report.flickers,
        shadow_frames=report.shadow_frames,
        shadow_disagreements=report.shadow_disagreements,
        inferences=report.inferences,
        inference_p50_ms=report.inference_p50_ms,
        inference_p99_ms=report.inference_p99_ms,
        faults=report.faults,
        shadow_would_have_prevented=report.would_have_prevented,
        shadow_false_alarms=report.false_alarms,
        shadow_decisions=report.decisions,
        shadow_would_have_avoided=report.would_have_avoided,
        shadow_would_have_missed=report.would_have_missed,
        overrides=report.overrides,
    )
    return telemetry_pb2.ReportHealthRequest(report=message).SerializeToString()


def is_batch(content: bytes) -> bool:
    """Return True if the bytes are a request with a batch."""
    try:
        return telemetry_pb2.StreamTelemetryRequest.FromString(content).HasField("batch")
    except DecodeError:
        return False


def is_report(content: bytes) -> bool:
    """Return True if the bytes are a request with a report."""
    try:
        return telemetry_pb2.ReportHealthRequest.FromString(content).HasField("report")
    except DecodeError:
        return False


def clip_request(command: command_pb2.VehicleCommand) -> ClipRequest:
    """Convert a command to send a clip."""
    wanted = command.send_clip
    return ClipRequest(
        command_id=command.command_id,
        firing_id=wanted.firing_id,
        boot_id=wanted.boot_id,
        start_ns=wanted.start_monotonic_ns,
        end_ns=wanted.end_monotonic_ns,
        onset_ns=wanted.onset_monotonic_ns,
        cameras=tuple(wanted.cameras),
        trigger=wanted.trigger,
        priority=wanted.priority,
        expires_at_utc_ns=command.expires_at_utc_ns,
    )
