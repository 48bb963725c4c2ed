"""Many open calls of Health.Watch, as load balancers hold them. Each must say that the service is serving."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.chaos.load import Load
from tests.chaos.nemeses.protocol import BoundExceededError
from tests.chaos.poison import VEHICLE
from tests.chaos.system import PACKAGES, System

from fleetloop.api.enrolment import Enrolment
from fleetloop.kit.rpc import open_channel

WATCHES = 20
"""Open calls of each service."""
_ANSWER_S = 10.0


class HealthWatch:
    """Opens `WATCHES` calls at every service that has RPCs, reads the first answer of each, and hangs up."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed

    async def start(self, system: System, load: Load) -> str:
        """Raises BoundExceededError that names the services which did not answer."""
        files = Enrolment(system.run.layout, system.fleet_id).enrol(VEHICLE, now=datetime.now(UTC))
        services = [each for each in PACKAGES if f"{each}_grpc" in system.run.run_specs.info]
        wrong = []
        for package in services:
            name, address = package.replace("_", "-"), system.address(package)
            async with open_channel(name, address, files.ca, files.cert, files.key) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                answers = await asyncio.gather(*(_first(stub) for _ in range(WATCHES)))
            wrong += [f"{name}: {each}" for each in sorted(set(answers) - {""})]
        if wrong:
            raise BoundExceededError(f"Health.Watch: {'; '.join(wrong)}")
        return f"{WATCHES} open calls of Health.Watch at each of {len(services)} services"

    async def stop(self, system: System, load: Load) -> None:
        """The calls are closed already."""


async def _first(stub: health_pb2_grpc.HealthStub) -> str:
    """What is wrong with the first answer; empty if the service is serving."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            async for answer in stub.Watch(health_pb2.HealthCheckRequest()):
                serving = answer.status == health_pb2.HealthCheckResponse.SERVING
                return "" if serving else f"status {answer.status}"
    except (TimeoutError, grpc.aio.AioRpcError) as error:
        return repr(error)[:100]
    return "no answer"
