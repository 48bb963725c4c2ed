"""A vehicle deletes what the gateway has stored, keeps what it defers, and sets aside what it refuses for good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest
from tests.unit.telemetry_gateway.test_intake import OrderedPublisher

from fleetloop.api.producer import TelemetryProducer
from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.signals import parse_catalogue
from fleetloop.domain.validation import BatchError
from fleetloop.kit.process.clock import SystemClock
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from telemetry_gateway.arrival_time import DeferredError, StreamOrder
from telemetry_gateway.codec import deferral, rejection
from telemetry_gateway.intake import Intake, Outage
from telemetry_gateway.model import Sender
from vehicle_agent import senders
from vehicle_agent.codec import batch_bytes
from vehicle_agent.senders import TelemetrySender
from vehicle_agent.spool import Spool

BOOT = b"12345678"
S = 10**9
Connect = Callable[["Gateway"], Awaitable[grpc.aio.Channel]]
CATALOGUE = parse_catalogue("{version: 1, signals: {Speed: {type: float64, min: 0, max: 9}}}")


@dataclass
class SlowClock(SystemClock):
    """A wall clock that is behind by some time and can be set."""

    behind_ns: int = 0

    def now_utc_ns(self) -> int:
        return super().now_utc_ns() - self.behind_ns


@dataclass
class Gateway:
    """The real intake behind a stream; only Kafka and the certificates are missing."""

    clock: SlowClock
    max_lead_s: float = 120.0
    statuses: list[int] = field(default_factory=list)
    answer: Callable[[telemetry_pb2.TelemetryBatch], telemetry_pb2.StreamTelemetryResponse] | None = None

    def __post_init__(self) -> None:
        self.line = OrderedPublisher()
        self.intake = Intake(self.line, CATALOGUE, self.clock, Outage(), max_batch_bytes=500_000, spans_per_s=0)

    async def stream_telemetry(
        self, request_iterator: AsyncIterator[telemetry_pb2.StreamTelemetryRequest], context: object
    ) -> AsyncIterator[telemetry_pb2.StreamTelemetryResponse]:
        order = StreamOrder()
        async for request in request_iterator:
            response = self.answer(request.batch) if self.answer else await self._answer(request.batch, order)
            self.statuses.append(response.status)
            yield response

    async def _answer(
        self, batch: telemetry_pb2.TelemetryBatch, order: StreamOrder
    ) -> telemetry_pb2.StreamTelemetryResponse:
        key, now_ns = (batch.boot_id, batch.sequence), self.clock.monotonic_ns()
        try:
            order.check(key, now_ns)
            prepared = self.intake.prepare(batch, Sender("fleet", "car"), "stream", self.max_lead_s)
        except DeferredError as error:
            if error.field != "sequence":
                order.defer(key, now_ns + error.retry_after_ns)
            return deferral(*key, error)
        await (await self.intake.enqueue(prepared))
        return telemetry_pb2.StreamTelemetryResponse(
            boot_id=batch.boot_id,
            sequence=batch.sequence,
            status=telemetry_pb2.BATCH_STATUS_STORED,
            time_correction_ns=prepared.time_correction_ns,
        )

    def sequences(self) -> list[int]:
        """Of the batches that reached Kafka, in order."""
        return [telemetry_pb2.TelemetryBatch.FromString(event.payload).sequence for event in self.line.events]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """`await connect(gateway)`: a channel to the gateway on loopback."""
    servers, channels = [], []

    async def start(gateway: Gateway) -> grpc.aio.Channel:
        server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(
            gateway.stream_telemetry,
            telemetry_pb2.StreamTelemetryRequest.FromString,
            telemetry_pb2.StreamTelemetryResponse.SerializeToString,
        )
        service = "fleet.telemetry.v1.TelemetryService"
        handlers = grpc.method_handlers_generic_handler(service, {"StreamTelemetry": handler})
        server.add_generic_rpc_handlers((handlers,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        channels.append(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        return channels[-1]

    yield start
    for channel in channels:
        await channel.close()
    for server in servers:
        await server.stop(0)


def batch_at(sequence: int, utc_ns: int) -> FrameBatch:
    return FrameBatch(
        "fleet", "car", BOOT, sequence, sequence * S, utc_ns, "gnss", np.arange(100, dtype=np.int64),
        {"Speed": Column(np.ones(100))},
    )  # fmt: skip


async def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def sent(sender: TelemetrySender, condition: Callable[[], bool]) -> None:
    """Run the sender until the condition holds."""
    task = asyncio.create_task(sender.run())
    try:
        await until(condition)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("set_after_s", [0.3, 1.0])
async def test_a_gateway_whose_clock_is_behind_loses_no_batch_and_keeps_their_order(
    tmp_path: Path, connect: Connect, set_after_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "_LONGEST_DEFERRAL_S", 0.2)
    gateway, spool = Gateway(SlowClock(60 * S)), Spool(tmp_path, 10**7)
    for number in range(50):
        spool.put((BOOT, number), batch_bytes(batch_at(number, SystemClock().now_utc_ns())))
    sender = TelemetrySender("car", await connect(gateway), spool)
    asyncio.get_running_loop().call_later(set_after_s, setattr, gateway.clock, "behind_ns", 0)
    await sent(sender, lambda: not len(spool))
    assert gateway.sequences() == list(range(50))
    assert (sender.stored, sender.rejected, sender.corrected) == (50, 0, 0)
    assert sender.deferred >= 3
    assert telemetry_pb2.BATCH_STATUS_REJECTED not in gateway.statuses


async def test_a_batch_after_wake_up_that_is_seconds_ahead_arrives_once_the_clock_reaches_it(
    tmp_path: Path, connect: Connect
) -> None:
    gateway, spool = Gateway(SlowClock()), Spool(tmp_path, 10**7)
    now_ns = SystemClock().now_utc_ns()
    for number, ahead_ns in enumerate((11 * S, 0, 0)):
        spool.put((BOOT, number), batch_bytes(batch_at(number, now_ns + ahead_ns)))
    sender = TelemetrySender("car", await connect(gateway), spool)
    await sent(sender, lambda: not len(spool))
    assert gateway.sequences() == [0, 1, 2]
    assert sender.deferred >= 3
    stored = telemetry_pb2.TelemetryBatch.FromString(gateway.line.events[0].payload)
    assert stored.start_utc_ns == now_ns + 11 * S


async def test_a_gps_week_rollover_blocks_nothing_and_the_time_is_corrected(tmp_path: Path, connect: Connect) -> None:
    gateway, spool = Gateway(SlowClock()), Spool(tmp_path, 10**7)
    ahead_ns = 1024 * 7 * 86_400 * S
    begun_ns = SystemClock().now_utc_ns()
    for number in range(50):
        spool.put((BOOT, number), batch_bytes(batch_at(number, begun_ns + ahead_ns)))
    sender = TelemetrySender("car", await connect(gateway), spool)
    await sent(sender, lambda: not len(spool))
    assert (sender.stored, sender.corrected, sender.deferred) == (50, 50, 0)
    assert gateway.sequences() == list(range(50))
    for event in gateway.line.events:
        stored = telemetry_pb2.TelemetryBatch.FromString(event.payload)
        assert begun_ns <= stored.start_utc_ns + 99 <= SystemClock().now_utc_ns()
        assert stored.utc_source == telemetry_pb2.UTC_SOURCE_LOCAL


async def test_only_a_final_refusal_ends_a_batch_and_it_is_set_aside(tmp_path: Path, connect: Connect) -> None:
    """A status that this agent does not know is no reason to delete anything."""
    asked: list[int] = []

    def answer(batch: telemetry_pb2.TelemetryBatch) -> telemetry_pb2.StreamTelemetryResponse:
        asked.append(batch.sequence)
        first_time = asked.count(batch.sequence) == 1
        if batch.sequence == 1:
            return rejection(batch.boot_id, 1, rejected)
        status = 77 if first_time else telemetry_pb2.BATCH_STATUS_STORED
        return telemetry_pb2.StreamTelemetryResponse(boot_id=BOOT, sequence=batch.sequence, status=status)  # type: ignore[arg-type]

    rejected = BatchError("nan", "columns[Speed].values", "has NaN")
    gateway, spool = Gateway(SlowClock(), answer=answer), Spool(tmp_path, 10**7)
    for number in range(3):
        spool.put((BOOT, number), batch_bytes(batch_at(number, 0)))
    sender = TelemetrySender("car", await connect(gateway), spool)
    await sent(sender, lambda: not len(spool))
    assert (sender.stored, sender.rejected, sender.deferred) == (2, 1, 2)
    assert [path.name.split("-")[2] for path in (tmp_path / "refused").iterdir()] == ["1"]


async def test_a_producer_sends_deferred_batches_again_in_order(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetloop.api.producer._LONGEST_DEFERRAL_S", 0.2)
    gateway = Gateway(SlowClock(60 * S))
    producer = TelemetryProducer(await connect(gateway), window=8)
    running = asyncio.create_task(producer.run())
    try:
        asyncio.get_running_loop().call_later(0.5, setattr, gateway.clock, "behind_ns", 0)
        async with asyncio.timeout(30):
            now_ns = SystemClock().now_utc_ns()
            answers = [await producer.send(batch_at(number, now_ns)) for number in range(50)]
            assert all(each.stored for each in await asyncio.gather(*answers))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert gateway.sequences() == list(range(50))
    assert producer.deferred >= 1


async def test_a_producer_reads_that_a_time_was_corrected(connect: Connect) -> None:
    producer = TelemetryProducer(await connect(Gateway(SlowClock())))
    running = asyncio.create_task(producer.run())
    try:
        answer = await producer.send(batch_at(0, SystemClock().now_utc_ns() + 86_400 * S))
        acknowledgement = await asyncio.wait_for(answer, 20)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert acknowledgement.stored
    assert -86_400 <= acknowledgement.time_correction_s < -86_390
