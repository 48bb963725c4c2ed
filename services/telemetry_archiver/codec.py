"""Converts between protobuf and the archiver's model."""

from __future__ import annotations

from collections.abc import Iterable

from fleetloop.domain.archive_files import Footer
from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.messages import parse
from fleetloop.domain.telemetry_codec import decode_batch
from fleetloop.domain.validation import BatchError
from fleetloop.kit.messaging.outage import is_outage
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.protos.archive.v1 import archive_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from telemetry_archiver.core import check_shape
from telemetry_archiver.model import Arrival


def arrival_of(record: Record) -> tuple[Arrival, Exception | None]:
    """A message of the log as a value, and the error when it cannot be decoded."""
    batch: FrameBatch | None = None
    problem: Exception | None = None
    try:
        batch = decode_batch(parse(telemetry_pb2.TelemetryBatch, record))
        check_shape(batch)
    except BatchError as error:
        batch, problem = None, UnreadableMessageError(str(error))
    except Exception as error:
        if is_outage(error):
            raise
        batch, problem = None, error
    return Arrival(record.offset, record.appended_ms, len(record.value), batch), problem


def archive_response(address: str, footers: Iterable[Footer], vehicle_id: str) -> archive_pb2.GetArchiveResponse:
    """Totals over all footers, of one vehicle or, if `vehicle_id` is empty, of each."""
    response = archive_pb2.GetArchiveResponse(address=address)
    vehicles: dict[str, archive_pb2.ArchivedVehicle] = {}
    for footer in footers:
        response.files += 1
        response.repeats_dropped += footer.repeats
        for name, totals in footer.vehicles.items():
            if vehicle_id and name != vehicle_id:
                continue
            known = vehicles.get(name)
            if known is None:
                known = vehicles[name] = archive_pb2.ArchivedVehicle(
                    vehicle_id=name, first_utc_ns=totals.first_utc_ns, last_utc_ns=totals.last_utc_ns
                )
            known.batches += totals.batches
            known.frames += totals.frames
            known.first_utc_ns = min(known.first_utc_ns, totals.first_utc_ns)
            known.last_utc_ns = max(known.last_utc_ns, totals.last_utc_ns)
    response.vehicles.extend(vehicles[name] for name in sorted(vehicles))
    return response
