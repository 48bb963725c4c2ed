"""MonitorService: compares cohorts, and lists the models of vehicles."""

from __future__ import annotations

from collections.abc import Iterator

from fleet_monitor.codec import totals_of
from fleet_monitor.core import Selection, compare
from fleet_monitor.model import VehicleRecord
from fleet_monitor.stream import FleetRecords
from fleetloop.kit.refusal import UnavailableError
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.monitor.v1 import monitor_pb2, monitor_pb2_grpc

SERVICE_NAME = "fleet.monitor.v1.MonitorService"


class MonitorService(monitor_pb2_grpc.MonitorServiceServicer):
    """See protos/fleet/monitor/v1/monitor.proto for what each call promises."""

    def __init__(self, records: FleetRecords) -> None:
        self._records = records

    def _all(self) -> Iterator[tuple[str, VehicleRecord]]:
        """All vehicles. Raises UnavailableError while some are missing, because partial sums would mislead."""
        if not self._records.is_whole():
            raise UnavailableError("the sums are being restored: try again in a few seconds")
        return self._records.all()

    async def CompareCohorts(
        self, request: monitor_pb2.CompareCohortsRequest, context: object
    ) -> monitor_pb2.CompareCohortsResponse:
        selection = Selection(request.rollout_id, request.model_digest, request.from_utc_ns, request.until_utc_ns)
        found = compare(self._all(), selection)
        rows = [totals_of(where, sums, vehicles) for where, (sums, vehicles) in found.items()]
        rows.sort(key=lambda row: (row.rollout_id, row.cohort, row.model_digest, row.shadow_model_digest))
        return monitor_pb2.CompareCohortsResponse(cohorts=rows)

    async def ListVehicles(
        self, request: monitor_pb2.ListVehiclesRequest, context: object
    ) -> monitor_pb2.ListVehiclesResponse:
        vehicles = []
        for vehicle_id, record in sorted(self._all()):
            if record.latest is None:
                continue
            vehicles.append(
                monitor_pb2.VehicleState(
                    vehicle_id=vehicle_id,
                    model_digest=record.latest.model_digest,
                    shadow_model_digest=record.latest.shadow_model_digest,
                    cohort=health_pb2.Cohort.ValueType(record.latest.cohort),
                    rollout_id=record.latest.rollout_id,
                    reported_until_utc_ns=record.reported_until_utc_ns,
                    seen_at_utc_ns=record.seen_at_utc_ns,
                )
            )
        return monitor_pb2.ListVehiclesResponse(vehicles=vehicles)
