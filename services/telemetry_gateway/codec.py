"""Protobuf to the gateway's model and back."""

from __future__ import annotations

from fleetloop.domain.messages import event_of, parse
from fleetloop.domain.topics import CLIP, HEALTH
from fleetloop.domain.validation import BatchError
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.process.clock import NANOSECONDS_PER_MILLISECOND
from fleetloop.protos.clip.v1 import clip_pb2
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.common.v1 import provenance_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from telemetry_gateway.arrival_time import DeferredError
from telemetry_gateway.core import MOST_PER_SECOND, check_report, clip_event_id
from telemetry_gateway.model import NOT_YOURS, Clip, PendingCommand

ERROR_CODES = {
    "identity": telemetry_pb2.BATCH_ERROR_CODE_MISSING,
    "length": telemetry_pb2.BATCH_ERROR_CODE_WRONG_LENGTH,
    "type": telemetry_pb2.BATCH_ERROR_CODE_WRONG_TYPE,
    "nan": telemetry_pb2.BATCH_ERROR_CODE_BAD_VALUE,
    "range": telemetry_pb2.BATCH_ERROR_CODE_BAD_VALUE,
    "time": telemetry_pb2.BATCH_ERROR_CODE_TIME_BACKWARDS,
    "future": telemetry_pb2.BATCH_ERROR_CODE_FUTURE,
    "size": telemetry_pb2.BATCH_ERROR_CODE_TOO_LARGE,
    NOT_YOURS: telemetry_pb2.BATCH_ERROR_CODE_NOT_YOURS,
}

_AMOUNTS = (*MOST_PER_SECOND, "inference_p50_ms", "inference_p99_ms")


def rejection(boot_id: bytes, sequence: int, error: BatchError) -> telemetry_pb2.StreamTelemetryResponse:
    """The answer to a batch that was rejected."""
    return telemetry_pb2.StreamTelemetryResponse(
        boot_id=boot_id,
        sequence=sequence,
        status=telemetry_pb2.BATCH_STATUS_REJECTED,
        error=telemetry_pb2.BatchError(code=ERROR_CODES[error.code], field=error.field, message=str(error)),
    )


def deferral(boot_id: bytes, sequence: int, error: DeferredError) -> telemetry_pb2.StreamTelemetryResponse:
    """The answer to a batch that its vehicle has to send again later."""
    response = rejection(boot_id, sequence, error.as_batch_error())
    response.status = telemetry_pb2.BATCH_STATUS_DEFERRED
    response.retry_after_ms = -(-error.retry_after_ns // NANOSECONDS_PER_MILLISECOND)
    return response


def clip_of(header: telemetry_pb2.ClipHeader) -> Clip:
    """The header of an upload as a value."""
    return Clip(
        sha256=header.sha256,
        size_bytes=header.size_bytes,
        fleet_id=header.fleet_id,
        vehicle_id=header.vehicle_id,
        boot_id=header.boot_id,
        start_utc_ns=header.start_utc_ns,
        end_utc_ns=header.end_utc_ns,
        cameras=tuple(header.cameras),
        command_id=header.command_id,
        firing_id=header.firing_id,
        model_digest=header.model_digest,
    )


def stored_clip(clip: Clip, address: str, stored_at_utc_ns: int) -> clip_pb2.ClipStored:
    """The announcement that a clip is stored."""
    return clip_pb2.ClipStored(
        event_id=clip_event_id(clip.sha256, clip.firing_id),
        provenance=provenance_pb2.Provenance(
            fleet_id=clip.fleet_id,
            vehicle_id=clip.vehicle_id,
            boot_id=clip.boot_id,
            clip_id=clip.sha256,
            firing_id=clip.firing_id,
            model_digest=clip.model_digest,
        ),
        address=address,
        sha256=clip.sha256,
        size_bytes=clip.size_bytes,
        start_utc_ns=clip.start_utc_ns,
        end_utc_ns=clip.end_utc_ns,
        cameras=clip.cameras,
        command_id=clip.command_id,
        stored_at_utc_ns=stored_at_utc_ns,
    )


def repeated_announcement(receipt: clip_pb2.ClipStored, clip: Clip) -> clip_pb2.ClipStored:
    """The announcement for a clip that was stored by an earlier upload.

    It equals the first announcement but for the firing and the command, which are those of this upload.
    """
    message = clip_pb2.ClipStored()
    message.CopyFrom(receipt)
    message.event_id = clip_event_id(clip.sha256, clip.firing_id)
    message.provenance.firing_id = clip.firing_id
    message.command_id = clip.command_id
    return message


def clip_event(message: clip_pb2.ClipStored) -> Event:
    """The event of a stored clip; a repeat is identical byte for byte."""
    return event_of(CLIP, message.provenance.vehicle_id, message.event_id, message, message.stored_at_utc_ns)


def report_event(report: health_pb2.VehicleReport, now_utc_ns: int) -> Event:
    """The event of a report of a vehicle. Raises FieldError when it cannot be counted."""
    check_report(
        boot_id=report.boot_id,
        start_utc_ns=report.start_utc_ns,
        end_utc_ns=report.end_utc_ns,
        digests={"model_digest": report.model_digest, "shadow_model_digest": report.shadow_model_digest},
        amounts={field: getattr(report, field) for field in _AMOUNTS},
        faults=report.faults,
    )
    report.report_id = causal_id("report", report.vehicle_id, report.boot_id, report.sequence)
    return event_of(HEALTH, report.vehicle_id, report.report_id, report, now_utc_ns)


def command_of(record: Record) -> PendingCommand:
    """A command as it stands. Raises UnreadableMessageError."""
    command = parse(command_pb2.VehicleCommand, record)
    for field in ("command_id", "vehicle_id", "expires_at_utc_ns"):
        if not getattr(command, field):
            raise UnreadableMessageError(f"{field}: is empty in a command")
    return PendingCommand(
        command.command_id, command.vehicle_id, command.attempt, command.expires_at_utc_ns, record.value
    )


def command_response(command: PendingCommand) -> telemetry_pb2.StreamCommandsResponse:
    """A command on its way down."""
    return telemetry_pb2.StreamCommandsResponse(command=command_pb2.VehicleCommand.FromString(command.payload))
