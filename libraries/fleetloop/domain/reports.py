"""Reads a vehicle's report from a record. Every service that counts reports reads them here."""

from __future__ import annotations

from fleetloop.domain.messages import parse
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.protos.health.v1 import health_pb2


def report_in(record: Record) -> health_pb2.VehicleReport:
    """The report of a record of fleet.health.v1.

    Raises UnreadableMessageError for bytes that are no report, and for a report under the key of another vehicle: the
    gateway writes each report under the id of its sender, so that one vehicle cannot report for another.
    """
    report = parse(health_pb2.VehicleReport, record)
    if not record.key or record.key != report.vehicle_id.encode() or not report.boot_id:
        raise UnreadableMessageError("vehicle_id: must equal the key of the message, and boot_id must be set")
    return report
