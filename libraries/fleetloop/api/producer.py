"""Sends telemetry to the gateway: keeps what is not acknowledged, and sends it again after a broken connection.

It holds at most `window` batches in memory and no more; whoever must survive a power cut, or an hour without a
network, keeps a spool in front of it, as the vehicle agent does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import grpc

from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.kit.rpc import open_channel
from fleetloop.kit.security.pki import Credentials
from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

WINDOW = 32
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


class RefusedError(Exception):
    """The gateway will not talk to this vehicle: not enrolled, revoked, or not of this fleet."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What became of a batch."""

    boot_id: bytes
    sequence: int
    stored: bool
    """True: Kafka has it. False: refused, and sending it again would not help."""
    dropped_columns: tuple[str, ...] = ()
    """Columns that the fleet's catalogue does not know; the rest was stored."""
    error_code: str = ""
    """Name in fleet.telemetry.v1.BatchErrorCode."""
    error_field: str = ""
    error: str = ""


Key = tuple[bytes, int]


class TelemetryProducer:
    """One vehicle's stream. Make it with `connect_producer`."""

    def __init__(self, channel: grpc.aio.Channel, window: int = WINDOW) -> None:
        self._stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
        self._room = asyncio.Semaphore(window)
        self._open: dict[Key, telemetry_pb2.TelemetryBatch] = {}
        self._answers: dict[Key, asyncio.Future[Acknowledgement]] = {}
        self._unsent: asyncio.Queue[Key] = asyncio.Queue()
        self._refused: RefusedError | None = None
        self.connections = 0
        """How often a stream was opened."""

    async def send(self, batch: FrameBatch) -> asyncio.Future[Acknowledgement]:
        """Waits for room, then returns a future that ends when the gateway has answered.

        Raises BatchError for what the wire cannot carry, ValueError for a batch that is under way already, and
        RefusedError (also from the future) when the gateway will not talk to this vehicle.
        """
        message = encode_batch(batch)
        await self._room.acquire()
        key = (batch.boot_id, batch.sequence)
        if self._refused is not None or key in self._open:
            self._room.release()
            raise self._refused or ValueError(f"batch {batch.sequence} of this boot is under way")
        answer: asyncio.Future[Acknowledgement] = asyncio.get_running_loop().create_future()
        self._open[key] = message
        self._answers[key] = answer
        self._unsent.put_nowait(key)
        return answer

    async def drain(self) -> None:
        """Returns when every batch has been answered."""
        while self._answers:
            await asyncio.wait(list(self._answers.values()))

    async def run(self) -> None:
        """Keeps a stream open until cancelled, or refused."""
        pause_s = _FIRST_PAUSE_S
        while True:
            answered = len(self._answers)
            error = await self._converse()
            if error.code() not in _PASSING:
                self._refuse(RefusedError(f"{error.code().name}: {error.details()}"))
                return
            pause_s = _FIRST_PAUSE_S if len(self._answers) < answered else min(2 * pause_s, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def _converse(self) -> grpc.aio.AioRpcError:
        self._unsent = asyncio.Queue()
        for key in self._open:
            self._unsent.put_nowait(key)
        self.connections += 1
        call = self._stub.StreamTelemetry(wait_for_ready=True)
        writer = asyncio.create_task(self._write(call))
        try:
            while (response := await call.read()) is not grpc.aio.EOF:
                self._settle(response)
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

    async def _write(self, call: grpc.aio.StreamStreamCall) -> None:
        while True:
            message = self._open.get(await self._unsent.get())
            if message is not None:
                await call.write(telemetry_pb2.StreamTelemetryRequest(batch=message))

    def _settle(self, response: telemetry_pb2.StreamTelemetryResponse) -> None:
        key = (response.boot_id, response.sequence)
        answer = self._answers.pop(key, None)
        if answer is None:
            return
        del self._open[key]
        self._room.release()
        if answer.cancelled():
            return
        stored = response.status == telemetry_pb2.BATCH_STATUS_STORED
        code = "" if stored else telemetry_pb2.BatchErrorCode.Name(response.error.code)
        answer.set_result(
            Acknowledgement(
                response.boot_id,
                response.sequence,
                stored,
                tuple(response.dropped_columns),
                code,
                response.error.field,
                response.error.message,
            )
        )

    def _refuse(self, error: RefusedError) -> None:
        self._refused = error
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error)
            self._room.release()
        self._answers.clear()
        self._open.clear()


@asynccontextmanager
async def connect_producer(
    address: str, credentials: Credentials, window: int = WINDOW
) -> AsyncIterator[TelemetryProducer]:
    """A producer with the credentials that `fleetloop vehicles enrol` gave. Leaving waits for all answers."""
    async with open_channel(address, credentials.ca, credentials.cert, credentials.key) as channel:
        producer = TelemetryProducer(channel, window)
        running = asyncio.create_task(producer.run())
        try:
            yield producer
            await producer.drain()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
