"""Vehicles as the rollout sees them: each asks its director with its own certificate, obeys, and attests.

No net runs on them; what they drive and how far is made up. Everything that they are told is kept, so that a test can
see whether one was ever sent back.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import grpc

from fleetloop.api.enrolment import Enrolment
from fleetloop.domain.messages import event_of
from fleetloop.domain.topics import HEALTH
from fleetloop.embedded.run import EmbeddedRun
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.rpc import open_channel
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc

BOOT = b"assigned"
_COHORTS = {
    "control": health_pb2.COHORT_CONTROL,
    "shadow": health_pb2.COHORT_SHADOW,
    "canary": health_pb2.COHORT_CANARY,
}


@dataclass(slots=True)
class Assigned:
    """One vehicle."""

    name: str
    channel: grpc.aio.Channel
    history: list[tuple[str, str]] = field(default_factory=list)
    """(active, silent) models in the order in which they were assigned."""
    version: int = 0
    rollout_id: str = ""
    cohort: str = "control"
    sequence: int = 0
    reported_until_ns: int = field(default_factory=time.time_ns)
    """End of its last report: no vehicle reports of one second twice, and the controller counts none that does."""


class AssignedVehicles:
    """A few of them. `ask` and `reports` are one look of each at its director and one report of each."""

    def __init__(self, run: EmbeddedRun, names: list[str]) -> None:
        address = run.fleet.address("rollout_controller")
        self.all: list[Assigned] = []
        for name in names:
            identity = Enrolment(run.layout, "demo").enrol(name, now=datetime.now(UTC))
            self.all.append(
                Assigned(name, open_channel("rollout-controller", address, identity.ca, identity.cert, identity.key))
            )

    async def close(self) -> None:
        for vehicle in self.all:
            await vehicle.channel.close()

    async def ask(self) -> None:
        """Every vehicle asks what it is meant to run; while the rollout is away it goes on with what it has."""
        await asyncio.gather(*(self._ask(vehicle) for vehicle in self.all))

    @staticmethod
    async def _ask(vehicle: Assigned) -> None:
        request = rollout_pb2.FetchTargetRequest(path="0.assignment.json", repository=rollout_pb2.REPOSITORY_DIRECTOR)
        try:
            stub = rollout_pb2_grpc.ModelServiceStub(vehicle.channel)
            answer = b"".join([part.chunk async for part in stub.FetchTarget(request, timeout=5)])
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise
            return
        assignment = json.loads(answer)
        assert assignment["version"] >= vehicle.version, "a director never goes back to older metadata"
        vehicle.version = assignment["version"]
        vehicle.rollout_id, vehicle.cohort = assignment["rollout_id"], assignment["cohort"]
        runs = (assignment["active"], assignment["shadow"])
        if not vehicle.history or vehicle.history[-1] != runs:
            vehicle.history.append(runs)

    def reports(self, km: float = 0.0, decisions: int = 0) -> list[Event]:
        """A report of each vehicle. `decisions` count where a silent model runs; only control vehicles intervene."""
        return [self._report(vehicle, km, decisions) for vehicle in self.all]

    @staticmethod
    def _report(vehicle: Assigned, km: float, decisions: int) -> Event:
        active, shadow = vehicle.history[-1] if vehicle.history else ("", "")
        report_id = causal_id("report", vehicle.name, BOOT, vehicle.sequence)
        now_ns = time.time_ns()
        message = health_pb2.VehicleReport(
            report_id=report_id,
            fleet_id="demo",
            vehicle_id=vehicle.name,
            boot_id=BOOT,
            sequence=vehicle.sequence,
            start_utc_ns=vehicle.reported_until_ns,
            end_utc_ns=now_ns,
            model_digest=active,
            shadow_model_digest=shadow,
            rollout_id=vehicle.rollout_id,
            cohort=_COHORTS[vehicle.cohort],
            autopilot_km=km,
            distance_km=km,
            shadow_decisions=decisions if shadow else 0,
            interventions=int(km > 0 and vehicle.cohort == "control"),
            inferences=10,
            inference_p99_ms=2.0,
        )
        vehicle.sequence, vehicle.reported_until_ns = vehicle.sequence + 1, now_ns
        return event_of(HEALTH, vehicle.name, report_id, message, now_ns)
