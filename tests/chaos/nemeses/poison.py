"""Messages that no honest sender sends, through the gateway and through direct producers, in a random order."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from datetime import UTC, datetime

import grpc
from aiokafka import AIOKafkaProducer
from tests.chaos.load import Load
from tests.chaos.poison import POISON, VEHICLE, Message, Poison
from tests.chaos.system import System
from tests.chaos.topics import mark_of

from fleetloop.api.enrolment import Enrolment
from fleetloop.kit.rpc import open_channel
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
                    load.recorder.add("door", mark=mark, code=await _at_the_door(system, message))
                await asyncio.sleep(rng.uniform(0, 0.2))
        finally:
            await producer.stop()
        return f"{len(self._poison)} messages that must be refused"

    async def stop(self, system: System, load: Load) -> None:
        """Nothing is left to be undone."""


async def _at_the_door(system: System, message: Message) -> str:
    """Send a batch as an enrolled vehicle; the error's code, empty if the batch was accepted."""
    identity = Enrolment(system.run.layout, system.fleet_id).enrol(VEHICLE, now=datetime.now(UTC))
    batch = telemetry_pb2.TelemetryBatch.FromString(message.value)
    request = telemetry_pb2.StreamTelemetryRequest(batch=batch)

    async with asyncio.timeout(_ANSWER_S):
        while True:
            address = system.address("telemetry_gateway")
            async with open_channel(
                "telemetry-gateway", address, identity.ca, identity.cert, identity.key
            ) as channel:
                call = telemetry_pb2_grpc.TelemetryServiceStub(channel).StreamTelemetry(iter([request]))
                with suppress(grpc.aio.AioRpcError):
                    async for answer in call:
                        if answer.status == telemetry_pb2.BATCH_STATUS_STORED:
                            return ""
                        return telemetry_pb2.BatchErrorCode.Name(answer.error.code)
                code = await call.code()
                if code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.OK):
                    return str(code.name)
            await asyncio.sleep(0.5)
