"""The monitor on a real Kafka: every report counts once, whatever is repeated or killed."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import grpc
import pytest
from tests.integration.loop.kills import kill_when_ready
from tests.integration.loop.topics import Topics

from fleetloop.domain.messages import event_of
from fleetloop.domain.topics import HEALTH
from fleetloop.embedded.run import EmbeddedRun
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.rpc import open_channel
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.monitor.v1 import monitor_pb2, monitor_pb2_grpc

NOW_NS = time.time_ns()


def report(vehicle: str, rollout: str, sequence: int) -> Event:
    report_id = causal_id("report", vehicle, b"12345678", sequence)
    message = health_pb2.VehicleReport(
        report_id=report_id,
        fleet_id="demo",
        vehicle_id=vehicle,
        boot_id=b"12345678",
        sequence=sequence,
        start_utc_ns=NOW_NS + sequence * 60 * 10**9,
        end_utc_ns=NOW_NS + (sequence + 1) * 60 * 10**9,
        model_digest="a" * 64,
        rollout_id=rollout,
        cohort=health_pb2.COHORT_CANARY,
        autopilot_km=2.0,
        interventions=1,
        faults={"clip_gone": 1},
    )
    return event_of(HEALTH, vehicle, report_id, message, NOW_NS)


async def totals(run: EmbeddedRun, rollout: str, reports: int) -> monitor_pb2.CohortTotals:
    """The cohort's sums once they hold so many reports, or what they are after 40 s."""
    fleet = run.fleet
    credentials = fleet.credentials()
    async with open_channel(
        "fleet-monitor", fleet.address("fleet_monitor"), credentials.ca, credentials.cert, credentials.key
    ) as channel:
        stub = monitor_pb2_grpc.MonitorServiceStub(channel)
        cohort = monitor_pb2.CohortTotals()
        for _ in range(160):
            try:
                response = await stub.CompareCohorts(monitor_pb2.CompareCohortsRequest(rollout_id=rollout), timeout=5)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.25)
                continue
            cohort = response.cohorts[0] if response.cohorts else cohort
            if cohort.reports >= reports:
                break
            await asyncio.sleep(0.25)
        return cohort


async def test_reports_of_two_vehicles_are_summed_once(topics: Topics, run: EmbeddedRun) -> None:
    rollout = uuid4().hex
    for vehicle in (f"car-{uuid4().hex[:8]}", f"car-{uuid4().hex[:8]}"):
        for sequence in range(3):
            await topics.write(report(vehicle, rollout, sequence), times=2)
    cohort = await totals(run, rollout, 6)
    assert (cohort.reports, cohort.vehicles, cohort.interventions) == (6, 2, 6)
    assert cohort.autopilot_km == pytest.approx(12.0)
    assert cohort.interventions_per_100km == pytest.approx(50.0)
    assert cohort.interventions_per_100km_low < 50.0 < cohort.interventions_per_100km_high
    assert dict(cohort.faults) == {"clip_gone": 6}


async def test_sums_survive_sigkills_and_count_each_report_once(topics: Topics, run: EmbeddedRun) -> None:
    rollout, vehicle = uuid4().hex, f"car-{uuid4().hex[:8]}"
    for sequence in range(30):
        await topics.write(report(vehicle, rollout, sequence), times=2)
        if sequence in (8, 20):
            await kill_when_ready(run, "fleet_monitor")
    cohort = await totals(run, rollout, 30)
    await asyncio.sleep(1)
    cohort = await totals(run, rollout, 30)
    assert (cohort.reports, cohort.interventions) == (30, 30)
