"""Messages that no honest sender sends, through the gateway and through direct producers, in a random order."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc
from aiokafka import AIOKafkaProducer
from tests.chaos.hostile_clips import HOSTILE
from tests.chaos.load import Load
from tests.chaos.nemeses.protocol import BoundExceededError
from tests.chaos.poison import POISON, VEHICLE, Message, Poison
from tests.chaos.system import System
from tests.chaos.topics import mark_of

from fleetloop.api.enrolment import Enrolment
from fleetloop.kit.rpc import open_channel
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.security.pki import Credentials
from fleetloop.protos.campaign.v1 import campaign_pb2, campaign_pb2_grpc
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

_ANSWER_S = 20.0
_CLIPS_S = 90.0
"""Within this time vehicles are asked for as many clips as there are hostile contents."""
OPERATOR = "chaos-operator"
MOST_TIMES_SLOWER = 2.0
"""Poison may make the 99th percentile of another vehicle's acknowledgements this many times slower."""


class Poisoner:
    """Sends every known poison once. The oracle knows who must refuse which."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed

    async def start(self, system: System, load: Load) -> str:
        """Send all of it, with small pauses, so that honest messages come in between."""
        rng = random.Random(self.seed)
        load.hostile_clips += rng.sample(sorted(HOSTILE), len(HOSTILE))
        await send_all(system, load, rng, pause_s=0.2)
        try:
            async with asyncio.timeout(_CLIPS_S):
                while load.hostile_clips:
                    await asyncio.sleep(0.5)
        except TimeoutError as error:
            raise TimeoutError(f"no vehicle was asked for a clip: {load.hostile_clips} are left") from error
        return f"{len(POISON)} messages and {len(HOSTILE)} clips that must be refused"

    async def stop(self, system: System, load: Load) -> None:
        """No vehicle sends a hostile clip from here on."""
        load.hostile_clips.clear()


@dataclass(slots=True)
class Latencies:
    """Seconds until an acknowledgement, in calm load and with poison in between."""

    calm: list[float]
    poisoned: list[float]

    def ratio(self) -> float:
        """How many times slower the 99th percentile is with poison."""
        return percentile(self.poisoned, 99) / percentile(self.calm, 99)

    def __str__(self) -> str:
        calm, poisoned = percentile(self.calm, 99), percentile(self.poisoned, 99)
        return (
            f"p99 of acknowledgements {1000 * calm:.0f} ms in calm load ({len(self.calm)}), {1000 * poisoned:.0f} ms "
            f"with poison ({len(self.poisoned)}), {self.ratio():.2f} times"
        )


class PoisonLatency:
    """Compares how fast other vehicles' batches are acknowledged with and without poison, in turns."""

    def __init__(self, name: str, seed: int, rounds: int = 3, phase_s: float = 20.0) -> None:
        self.name = name
        self.seed = seed
        self._rounds = rounds
        self._phase_s = phase_s

    async def start(self, system: System, load: Load) -> str:
        """Measure. Raises BoundExceededError if poison makes others too slow."""
        rng = random.Random(self.seed)
        found = Latencies([], [])
        took_s = load.recorder.history.took_s
        for _ in range(self._rounds):
            before = len(took_s)
            await asyncio.sleep(self._phase_s)
            between = len(took_s)
            await send_all(system, load, rng, pause_s=2 * self._phase_s / len(POISON))
            found.calm += took_s[before:between]
            found.poisoned += took_s[between:]
        if found.ratio() > MOST_TIMES_SLOWER:
            raise BoundExceededError(str(found))
        return str(found)

    async def stop(self, system: System, load: Load) -> None:
        """Nothing is left to be undone."""


class PoisonLatencyEach:
    """Compares the same for every poison by itself, sent over and over, with the calm load just before it.

    An input that seems too slow is measured again, up to `most_rounds` times in all; its rounds count together.
    """

    def __init__(self, name: str, seed: int, phase_s: float = 6.0, most_rounds: int = 4) -> None:
        self.name = name
        self.seed = seed
        self._phase_s = phase_s
        self._most_rounds = most_rounds

    async def start(self, system: System, load: Load) -> str:
        """Measure. Raises BoundExceededError if one input makes others too slow."""
        rng = random.Random(self.seed)
        found: dict[str, Latencies] = {}
        async with sending(system) as send:
            for poison in rng.sample(POISON, len(POISON)):
                own = found[poison.name] = Latencies([], [])
                for _ in range(self._most_rounds):
                    await self._measure(own, poison, load, send, system, rng)
                    if own.ratio() <= MOST_TIMES_SLOWER:
                        break
                load.recorder.add("note", text=f"{poison.name}: {own}")
        slow = {name: each for name, each in found.items() if each.ratio() > MOST_TIMES_SLOWER}
        if slow:
            raise BoundExceededError("; ".join(f"{name}: {each}" for name, each in slow.items()))
        ratios = sorted(each.ratio() for each in found.values())
        together = Latencies(
            [took for each in found.values() for took in each.calm],
            [took for each in found.values() for took in each.poisoned],
        )
        return (
            f"{len(found)} inputs, each at most {ratios[-1]:.2f} times (median {percentile(ratios, 50):.2f}); all "
            f"together: {together}"
        )

    async def _measure(
        self, found: Latencies, poison: Poison, load: Load, send: Send, system: System, rng: random.Random
    ) -> None:
        took_s = load.recorder.history.took_s
        before = len(took_s)
        await asyncio.sleep(self._phase_s)
        between = len(took_s)
        until_s = time.monotonic() + self._phase_s
        while time.monotonic() < until_s:
            await send(poison, poison.make(rng, system.fleet_id, time.time_ns()), load)
            await asyncio.sleep(self._phase_s / 12)
        found.calm += took_s[before:between]
        found.poisoned += took_s[between:]

    async def stop(self, system: System, load: Load) -> None:
        """Nothing is left to be undone."""


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that is not below `percent` % of them. Raises ValueError for none."""
    if not values:
        raise ValueError("no batch was acknowledged")
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


async def send_all(system: System, load: Load, rng: random.Random, pause_s: float) -> None:
    """Send every poison once in a random order, with a pause of up to `pause_s` after each."""
    async with sending(system) as send:
        for poison in rng.sample(POISON, len(POISON)):
            await send(poison, poison.make(rng, system.fleet_id, time.time_ns()), load)
            await asyncio.sleep(rng.uniform(0, pause_s))


Send = Callable[[Poison, Message, Load], Awaitable[None]]


@asynccontextmanager
async def sending(system: System) -> AsyncIterator[Send]:
    """What sends a poison while a block lasts, through its door or as a direct producer, and notes it."""
    producer = AIOKafkaProducer(bootstrap_servers=system.bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()

    async def send(poison: Poison, message: Message, load: Load) -> None:
        mark = mark_of(message.key, message.value)
        # Before it is sent: a message that is not noted would look like one that a service made.
        load.recorder.add(
            "planted", mark=mark, input=poison.name, topic=poison.topic, refused_by=sorted(poison.refused_by)
        )
        if poison.topic:
            await producer.send_and_wait(poison.topic, message.value, key=message.key, headers=message.headers)
        else:
            load.recorder.add("door", mark=mark, code=await _at_the_door(callers, poison, message))

    try:
        async with _callers(system) as callers:
            yield send
    finally:
        await producer.stop()


@dataclass(frozen=True, slots=True)
class _Callers:
    """Channels of those who send poison through a door, both of them admitted."""

    vehicle: grpc.aio.Channel
    operator: grpc.aio.Channel


@asynccontextmanager
async def _callers(system: System) -> AsyncIterator[_Callers]:
    enrolment, now = Enrolment(system.run.layout, system.fleet_id), datetime.now(UTC)
    vehicle = enrolment.enrol(VEHICLE, now=now)
    person = enrolment.enrol(OPERATOR, kind=IdentityKind.USER, roles=["operator"], now=now)

    def channel(service: str, files: Credentials) -> grpc.aio.Channel:
        address = system.address(service.replace("-", "_"))
        return open_channel(service, address, files.ca, files.cert, files.key)

    async with channel("telemetry-gateway", vehicle) as gateway, channel("campaign-keeper", person) as keeper:
        yield _Callers(gateway, keeper)


async def _at_the_door(callers: _Callers, poison: Poison, message: Message) -> str:
    """Send a message as an admitted caller. Returns the error's code, empty if it was accepted."""
    async with asyncio.timeout(_ANSWER_S):
        while True:
            try:
                return await _SEND[poison.rpc](callers, message.value)
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    return str(error.code().name)
            await asyncio.sleep(0.5)


async def _send_batch(callers: _Callers, value: bytes) -> str:
    stub = telemetry_pb2_grpc.TelemetryServiceStub(callers.vehicle)
    batch = telemetry_pb2.TelemetryBatch.FromString(value)
    async for answer in stub.StreamTelemetry(iter([telemetry_pb2.StreamTelemetryRequest(batch=batch)])):
        stored = answer.status == telemetry_pb2.BATCH_STATUS_STORED
        return "" if stored else telemetry_pb2.BatchErrorCode.Name(answer.error.code)
    return "NO_ANSWER"


async def _send_report(callers: _Callers, value: bytes) -> str:
    stub = telemetry_pb2_grpc.TelemetryServiceStub(callers.vehicle)
    report = health_pb2.VehicleReport.FromString(value)
    await stub.ReportHealth(telemetry_pb2.ReportHealthRequest(report=report), timeout=_ANSWER_S)
    return ""


async def _send_clip(callers: _Callers, value: bytes) -> str:
    stub = telemetry_pb2_grpc.TelemetryServiceStub(callers.vehicle)
    header = telemetry_pb2.ClipHeader.FromString(value)
    await stub.UploadClip(iter([telemetry_pb2.UploadClipRequest(header=header)]), timeout=_ANSWER_S)
    return ""


async def _send_state(callers: _Callers, value: bytes) -> str:
    stub = campaign_pb2_grpc.CampaignServiceStub(callers.operator)
    await stub.SetCampaignState(campaign_pb2.SetCampaignStateRequest.FromString(value), timeout=_ANSWER_S)
    return ""


_SEND: dict[str, Callable[[_Callers, bytes], Awaitable[str]]] = {
    "StreamTelemetry": _send_batch,
    "ReportHealth": _send_report,
    "UploadClip": _send_clip,
    "SetCampaignState": _send_state,
}
