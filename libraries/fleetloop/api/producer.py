"""Send telemetry to the gateway. Unacknowledged batches are sent again after a broken connection.

A producer holds at most `window` batches in memory. To survive a power failure or an hour without a network, put a
spool in front of it, as the vehicle agent does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import grpc

from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.kit.process.clock import MILLISECONDS_PER_SECOND, ns_to_seconds
from fleetloop.kit.rpc import open_channel
from fleetloop.kit.security.pki import Credentials
from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

WINDOW = 32
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LONGEST_DEFERRAL_S = 0.1, 5.0, 60.0
# After these a new connection may succeed. Any other code is the gateway's decision about this vehicle.
_RETRIED = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


_FINAL = (telemetry_pb2.BATCH_STATUS_STORED, telemetry_pb2.BATCH_STATUS_REJECTED)
"""Answers after which a batch is not sent again. A status that this version does not know counts as deferred."""


class RefusedError(Exception):
    """The gateway refuses this vehicle: it is not enrolled, was revoked, or belongs to another fleet."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The gateway's answer to a batch."""

    boot_id: bytes
    sequence: int
    stored: bool
    """True if Kafka has stored the batch. False if it was refused; sending it again would not help. A batch that the
    gateway defers, for example because its clock is behind, is sent again by the producer itself."""
    dropped_columns: tuple[str, ...] = ()
    """Columns that the fleet's signal catalogue does not contain. The other columns were stored."""
    error_code: str = ""
    """A name of fleet.telemetry.v1.BatchErrorCode; empty if the batch was stored."""
    error_field: str = ""
    error: str = ""
    time_correction_s: float = 0.0
    """Seconds that the gateway added to the batch's UTC, because it was too far in the future to wait for."""


Key = tuple[bytes, int]


class TelemetryProducer:
    """The telemetry stream of one vehicle. Create it with `connect_producer`."""

    def __init__(self, channel: grpc.aio.Channel, window: int = WINDOW) -> None:
        self._stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
        self._free_slots = asyncio.Semaphore(window)
        self._open: dict[Key, telemetry_pb2.TelemetryBatch] = {}
        self._answers: dict[Key, asyncio.Future[Acknowledgement]] = {}
        self._unsent: asyncio.Queue[Key] = asyncio.Queue()
        self._news = asyncio.Event()
        self._refused: RefusedError | None = None
        self._deferred_s = 0.0
        self.connections = 0
        """Number of streams that were opened so far."""
        self.deferred = 0
        """Number of answers that asked to send a batch again later."""

    async def send(self, batch: FrameBatch) -> asyncio.Future[Acknowledgement]:
        """Queue a batch, waiting while `window` batches are unacknowledged.

        Returns a future with the gateway's acknowledgement.

        Raises:
            BatchError: The batch cannot be encoded.
            ValueError: A batch with the same boot and sequence is already in flight.
            RefusedError: The gateway refuses this vehicle. The future may raise it too.
        """
        message = encode_batch(batch)
        await self._free_slots.acquire()
        key = (batch.boot_id, batch.sequence)
        if self._refused is not None or key in self._open:
            self._free_slots.release()
            raise self._refused or ValueError(f"batch {batch.sequence} of this boot is already in flight")
        answer: asyncio.Future[Acknowledgement] = asyncio.get_running_loop().create_future()
        self._open[key] = message
        self._answers[key] = answer
        self._unsent.put_nowait(key)
        self._news.set()
        return answer

    async def drain(self) -> None:
        """Wait until every batch is acknowledged."""
        while self._answers:
            await asyncio.wait(list(self._answers.values()))

    async def run(self) -> None:
        """Keep a stream open, reconnecting with growing pauses, until cancelled or refused."""
        pause_s = _FIRST_PAUSE_S
        while True:
            while not self._open:  # the gateway ends streams that send nothing
                self._news.clear()
                await self._news.wait()
            answered = len(self._answers)
            error = await self._run_stream()
            if error is None:
                await asyncio.sleep(self._deferred_s)
                continue
            if error.code() not in _RETRIED:
                self._refuse(RefusedError(f"{error.code().name}: {error.details()}"))
                return
            pause_s = _FIRST_PAUSE_S if len(self._answers) < answered else min(2 * pause_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _run_stream(self) -> grpc.aio.AioRpcError | None:
        """Open a stream and send all unacknowledged batches again, in order. Returns the error that ends the stream.

        Returns None if the gateway deferred a batch, once every other batch in flight is answered.
        """
        self._unsent = asyncio.Queue()
        for key in self._open:
            self._unsent.put_nowait(key)
        self._deferred_s = 0.0
        self.connections += 1
        in_flight: set[Key] = set()
        call = self._stub.StreamTelemetry(wait_for_ready=True)
        writer = asyncio.create_task(self._write(call, in_flight))
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                self._resolve(response)
                in_flight.discard((response.boot_id, response.sequence))
                if self._deferred_s > 0 and not in_flight:
                    return None
            return grpc.aio.AioRpcError(
                await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
            )
        except grpc.aio.AioRpcError as error:
            return error
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await writer
            call.cancel()

    async def _write(self, call: grpc.aio.StreamStreamCall, in_flight: set[Key]) -> None:
        while True:
            key = await self._unsent.get()
            message = self._open.get(key)
            if self._deferred_s > 0:
                return
            if message is not None:
                in_flight.add(key)
                await call.write(telemetry_pb2.StreamTelemetryRequest(batch=message))

    def _resolve(self, response: telemetry_pb2.StreamTelemetryResponse) -> None:
        if response.status not in _FINAL:
            self.deferred += 1
            wait_s = min(max(response.retry_after_ms / MILLISECONDS_PER_SECOND, _FIRST_PAUSE_S), _LONGEST_DEFERRAL_S)
            self._deferred_s = max(wait_s, self._deferred_s)
            return
        key = (response.boot_id, response.sequence)
        answer = self._answers.pop(key, None)
        if answer is None:
            return
        del self._open[key]
        self._free_slots.release()
        if answer.cancelled():
            return
        stored = response.status == telemetry_pb2.BATCH_STATUS_STORED
        code = "" if stored else _code_name(response.error.code)
        answer.set_result(
            Acknowledgement(
                response.boot_id,
                response.sequence,
                stored,
                tuple(response.dropped_columns),
                code,
                response.error.field,
                response.error.message,
                ns_to_seconds(response.time_correction_ns),
            )
        )

    def _refuse(self, error: RefusedError) -> None:
        self._refused = error
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)
            self._free_slots.release()
        self._answers.clear()
        self._open.clear()


def _code_name(code: telemetry_pb2.BatchErrorCode.ValueType) -> str:
    known = code in telemetry_pb2.BatchErrorCode.values()
    return telemetry_pb2.BatchErrorCode.Name(code) if known else f"BATCH_ERROR_CODE_{code}"


@asynccontextmanager
async def connect_producer(
    address: str, credentials: Credentials, window: int = WINDOW
) -> AsyncIterator[TelemetryProducer]:
    """Connect a producer as an async context manager.

    Args:
        address: host:port of the gateway.
        credentials: What `fleetloop vehicles enrol` or `Enrolment.enrol` issued.
        window: Most batches that may be unacknowledged at a time.

    Leaving the block waits for all acknowledgements.
    """
    async with open_channel(
        "telemetry-gateway", address, credentials.ca, credentials.cert, credentials.key
    ) as channel:
        producer = TelemetryProducer(channel, window)
        running = asyncio.create_task(producer.run())
        try:
            yield producer
            await producer.drain()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
