"""Messages that no honest sender sends, through the gateway and through direct producers, in a random order."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import grpc
from aiokafka import AIOKafkaProducer
from tests.chaos.load import Load
from tests.chaos.poison import POISON, VEHICLE, Message, Poison
from tests.chaos.system import System
from tests.chaos.topics import mark_of

from fleetloop.api.enrolment import Enrolment
from fleetloop.kit.rpc import open_channel
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

_ANSWER_S = 20.0


class Poisoner:
    """Sends every known poison once. The oracle knows who must refuse which."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed
        self._poison: list[Poison] = list(POISON)

    async def start(self, system: System, load: Load) -> str:
        """Send all of it, with small pauses, so that honest messages come in between."""
        rng = random.Random(self.seed)
        rng.shuffle(self._poison)
        producer = AIOKafkaProducer(bootstrap_servers=system.bootstrap_servers, acks="all", enable_idempotence=True)
        await producer.start()
        try:
            for poison in self._poison:
                message = poison.make(rng, system.fleet_id, time.time_ns())
                mark = mark_of(message.key, message.value)
                # Before it is sent: a message that is not noted would look like one that a service made.
                load.recorder.add(
                    "planted", mark=mark, input=poison.name, topic=poison.topic, refused_by=sorted(poison.refused_by)
                )
                if poison.topic:
                    await producer.send_and_wait(
                        poison.topic, message.value, key=message.key, headers=message.headers
                    )
                else:
                    load.recorder.add("door", mark=mark, code=await _at_the_door(system, poison, message))
                await asyncio.sleep(rng.uniform(0, 0.2))
        finally:
            await producer.stop()
        return f"{len(self._poison)} messages that must be refused"

    async def stop(self, system: System, load: Load) -> None:
        """Nothing is left to be undone."""


async def _at_the_door(system: System, poison: Poison, message: Message) -> str:
    """Send a message as an enrolled vehicle. Returns the error's code, empty if the gateway accepted it."""
    identity = Enrolment(system.run.layout, system.fleet_id).enrol(VEHICLE, now=datetime.now(UTC))
    files = (identity.ca, identity.cert, identity.key)
    async with asyncio.timeout(_ANSWER_S):
        while True:
            async with open_channel("telemetry-gateway", system.address("telemetry_gateway"), *files) as channel:
                try:
                    return await _SEND[poison.rpc](telemetry_pb2_grpc.TelemetryServiceStub(channel), message.value)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                        return str(error.code().name)
            await asyncio.sleep(0.5)


async def _send_batch(stub: telemetry_pb2_grpc.TelemetryServiceStub, value: bytes) -> str:
    batch = telemetry_pb2.TelemetryBatch.FromString(value)
    async for answer in stub.StreamTelemetry(iter([telemetry_pb2.StreamTelemetryRequest(batch=batch)])):
        stored = answer.status == telemetry_pb2.BATCH_STATUS_STORED
        return "" if stored else telemetry_pb2.BatchErrorCode.Name(answer.error.code)
    return "the stream ended without an answer"


async def _send_report(stub: telemetry_pb2_grpc.TelemetryServiceStub, value: bytes) -> str:
    report = health_pb2.VehicleReport.FromString(value)
    await stub.ReportHealth(telemetry_pb2.ReportHealthRequest(report=report), timeout=_ANSWER_S)
    return ""


async def _send_clip(stub: telemetry_pb2_grpc.TelemetryServiceStub, value: bytes) -> str:
    header = telemetry_pb2.ClipHeader.FromString(value)
    await stub.UploadClip(iter([telemetry_pb2.UploadClipRequest(header=header)]), timeout=_ANSWER_S)
    return ""


_SEND: dict[str, Callable[[telemetry_pb2_grpc.TelemetryServiceStub, bytes], Awaitable[str]]] = {
    "StreamTelemetry": _send_batch,
    "ReportHealth": _send_report,
    "UploadClip": _send_clip,
}
