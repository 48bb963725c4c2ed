"""Send a vehicle's spools to the gateway and receive its commands, across network failures."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc

from fleetloop.kit.process.clock import MILLISECONDS_PER_SECOND, ns_to_seconds
from fleetloop.kit.process.logs import get_logger
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc
from vehicle_agent.spool import Key, Spool

log = get_logger(__name__)
WINDOW = 32
_LONGEST_DEFERRAL_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _REFUSED_PAUSE_S = 0.2, 5.0, 30.0
_REFUSALS = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
_STREAM = "/fleet.telemetry.v1.TelemetryService/StreamTelemetry"
_REPORT = "/fleet.telemetry.v1.TelemetryService/ReportHealth"


def _as_is(payload: bytes) -> bytes:
    return payload


async def run_with_retries(vehicle_id: str, what: str, session: Callable[[], Awaitable[bool]]) -> None:
    """Call `session` repeatedly. It returns True if it made progress; otherwise the pause before the next call
    grows.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            progress = await session()
            pause_s = _FIRST_PAUSE_S if progress else min(2 * pause_s, _LONGEST_PAUSE_S)
        except grpc.aio.AioRpcError as error:
            refused = error.code() in _REFUSALS
            pause_s = _REFUSED_PAUSE_S if refused else min(2 * pause_s, _LONGEST_PAUSE_S)
            level = log.warning if refused else log.info
            level(f"{what}_interrupted", vehicle=vehicle_id, code=error.code().name, details=error.details())
        await asyncio.sleep(pause_s)


class TelemetrySender:
    """Sends the batches in the spool, oldest first, and removes those that the gateway has answered."""

    def __init__(self, vehicle_id: str, channel: grpc.aio.Channel, spool: Spool, window: int = WINDOW) -> None:
        self._vehicle_id = vehicle_id
        self._open = channel.stream_stream(
            _STREAM, request_serializer=_as_is, response_deserializer=telemetry_pb2.StreamTelemetryResponse.FromString
        )
        self._spool = spool
        self._window = window
        self._unsent: deque[Key] = deque()
        self._news = asyncio.Event()
        self._deferred_s = 0.0
        spool.on_put = self._enqueue
        self.stored = 0
        """Number of batches that Kafka has stored."""
        self.rejected = 0
        """Number of batches that the gateway refused for good. They are set aside, and not sent again."""
        self.deferred = 0
        """Number of answers that asked to send a batch again later. The batch stays in the spool."""
        self.corrected = 0
        """Number of batches that were stored with a corrected time, because this vehicle's clock is far ahead."""

    def _enqueue(self, key: Key) -> None:
        self._unsent.append(key)
        self._news.set()

    async def run(self) -> None:
        """Send until cancelled."""
        await run_with_retries(self._vehicle_id, "telemetry", self._run_session)

    async def _run_session(self) -> bool:
        """Send over one stream until it ends, or until a batch is deferred and the others in flight are answered."""
        before = self.stored + self.rejected
        while not len(self._spool):  # the gateway ends streams that send nothing
            self._news.clear()
            await self._news.wait()
        self._unsent, self._deferred_s = deque(self._spool.keys()), 0.0
        self._news.set()
        in_flight: set[Key] = set()
        room = asyncio.Semaphore(self._window)
        call = self._open(wait_for_ready=True)
        writer = asyncio.create_task(self._write(call, room, in_flight))
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                self._handle(response)
                in_flight.discard((response.boot_id, response.sequence))
                room.release()
                if self._deferred_s > 0 and not in_flight:
                    break
            else:
                status = await call.code()
                if status in _REFUSALS:
                    raise grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata(), await call.details())
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await writer
            call.cancel()
        if self._deferred_s > 0:
            await asyncio.sleep(self._deferred_s)
            return True
        return self.stored + self.rejected > before

    async def _write(self, call: grpc.aio.StreamStreamCall, room: asyncio.Semaphore, in_flight: set[Key]) -> None:
        while self._deferred_s == 0:
            while not self._unsent:
                self._news.clear()
                await self._news.wait()
            await room.acquire()
            if self._deferred_s > 0:
                return
            key = self._unsent.popleft()
            payload = self._spool.read(key)
            if payload is None:
                room.release()
            else:
                in_flight.add(key)
                await call.write(payload)

    def _handle(self, response: telemetry_pb2.StreamTelemetryResponse) -> None:
        """Delete what is stored or refused for good, and nothing else: a later gateway may have other answers."""
        key = (response.boot_id, response.sequence)
        if response.status == telemetry_pb2.BATCH_STATUS_STORED:
            self.stored += 1
            self._spool.acknowledge(key)
            if response.time_correction_ns:
                self.corrected += 1
                correction_s = ns_to_seconds(response.time_correction_ns)
                log.warning("time_corrected", vehicle=self._vehicle_id, seconds=correction_s)
        elif response.status == telemetry_pb2.BATCH_STATUS_REJECTED:
            self.rejected += 1
            self._spool.set_aside(key)
            log.warning("batch_rejected", vehicle=self._vehicle_id, error=response.error.message)
        else:
            self.deferred += 1
            wait_s = min(max(response.retry_after_ms / MILLISECONDS_PER_SECOND, _FIRST_PAUSE_S), _LONGEST_DEFERRAL_S)
            if self._deferred_s == 0:
                log.info("batch_deferred", vehicle=self._vehicle_id, seconds=wait_s, error=response.error.message)
            self._deferred_s = max(wait_s, self._deferred_s)
        if response.dropped_columns:
            log.warning("columns_dropped", vehicle=self._vehicle_id, columns=list(response.dropped_columns))


class ReportSender:
    """Sends health reports one by one. A report that the gateway refuses as invalid is set aside."""

    def __init__(self, vehicle_id: str, channel: grpc.aio.Channel, spool: Spool) -> None:
        self._vehicle_id = vehicle_id
        self._report = channel.unary_unary(
            _REPORT, request_serializer=_as_is, response_deserializer=telemetry_pb2.ReportHealthResponse.FromString
        )
        self._spool = spool
        self._news = asyncio.Event()
        spool.on_put = lambda key: self._news.set()

    async def run(self) -> None:
        """Send until cancelled."""
        await run_with_retries(self._vehicle_id, "reports", self._run_session)

    async def _run_session(self) -> bool:
        while not len(self._spool):
            self._news.clear()
            await self._news.wait()
        for key, payload in self._spool.messages():
            try:
                await self._report(payload, timeout=30, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                    raise
                log.warning("report_refused", vehicle=self._vehicle_id, details=error.details())
                self._spool.set_aside(key)
            self._spool.acknowledge(key)
        return True


class CommandListener:
    """Passes every command that arrives to a function, including repeated ones."""

    def __init__(
        self,
        fleet_id: str,
        vehicle_id: str,
        channel: grpc.aio.Channel,
        on_command: Callable[[command_pb2.VehicleCommand], None],
    ) -> None:
        self._request = telemetry_pb2.StreamCommandsRequest(fleet_id=fleet_id, vehicle_id=vehicle_id)
        self._stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
        self._on_command = on_command
        self.connected = asyncio.Event()
        """Set once the gateway has accepted the stream."""

    async def run(self) -> None:
        """Receive until cancelled."""
        await run_with_retries(self._request.vehicle_id, "commands", self._run_session)

    async def _run_session(self) -> bool:
        received = False
        call = self._stub.StreamCommands(self._request, wait_for_ready=True)
        await call.wait_for_connection()
        self.connected.set()
        async for response in call:
            received = True
            self._on_command(response.command)
        return received
