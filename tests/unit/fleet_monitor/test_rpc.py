from __future__ import annotations

import pytest

from fleet_monitor.codec import to_bytes
from fleet_monitor.model import SumKey, Sums, VehicleRecord
from fleet_monitor.rpc import MonitorService
from fleet_monitor.stream import FleetRecords
from fleetloop.kit.refusal import RefusalKind, RefusedError
from fleetloop.protos.monitor.v1 import monitor_pb2

WHERE = SumKey("m" * 64, "", "r", 1, 0)


def records(whole: bool) -> FleetRecords:
    found = FleetRecords(lambda: whole)
    record = VehicleRecord(boot="b1", sequence=0, latest=WHERE, windows={WHERE: Sums(10.0, 2, reports=1)})
    found.table = {b"car": to_bytes(record)}
    return found


async def test_half_of_the_evidence_is_no_answer() -> None:
    service = MonitorService(records(whole=False))
    with pytest.raises(RefusedError, match="restored") as refused:
        await service.CompareCohorts(monitor_pb2.CompareCohortsRequest(), None)
    assert refused.value.kind is RefusalKind.UNAVAILABLE
    with pytest.raises(RefusedError, match="restored"):
        await service.ListVehicles(monitor_pb2.ListVehiclesRequest(), None)


async def test_all_of_it_is_added_up() -> None:
    service = MonitorService(records(whole=True))
    (cohort,) = (await service.CompareCohorts(monitor_pb2.CompareCohortsRequest(), None)).cohorts
    assert (cohort.vehicles, cohort.autopilot_km, cohort.interventions_per_100km) == (1, 10.0, 20.0)
    (vehicle,) = (await service.ListVehicles(monitor_pb2.ListVehiclesRequest(), None)).vehicles
    assert (vehicle.vehicle_id, vehicle.model_digest) == ("car", "m" * 64)
