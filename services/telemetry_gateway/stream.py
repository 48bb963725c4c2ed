"""The Kafka shell: batches that producers write to Kafka directly, and the commands for vehicles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from typing import Any

from fleetloop.domain.messages import parse
from fleetloop.domain.topics import COMMAND, INGEST
from fleetloop.domain.validation import BatchError
from fleetloop.kit.messaging.dead_letters import DeadLetterQueue, process_or_set_aside, set_aside
from fleetloop.kit.messaging.outage import is_outage
from fleetloop.kit.messaging.partition_reader import TopicReader
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import MESSAGES
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.refusal import PermissionDeniedError
from fleetloop.kit.security.identity import Identity, IdentityKind, PkiError
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from telemetry_gateway.codec import command_of
from telemetry_gateway.intake import Intake, Prepared
from telemetry_gateway.metrics import LIMITED, PENDING_COMMANDS, REJECTIONS
from telemetry_gateway.model import NOT_YOURS, PendingCommand, Sender
from telemetry_gateway.pending_commands import PendingCommands
from telemetry_gateway.ports import Admissions

log = get_logger(__name__)
_SOURCE = "ingest"


class Ingest:
    """Checks batches of `fleet.ingest.v1` and forwards them; invalid ones go to the dead-letter queue."""

    def __init__(
        self, service: str, intake: Intake, dead_letters: DeadLetterQueue, admissions: Admissions, fleet_id: str
    ) -> None:
        self._service = service
        self._intake = intake
        self._dead_letters = dead_letters
        self._admissions = admissions
        self._fleet_id = fleet_id

    async def handle(self, records: Sequence[Record]) -> None:
        """Returns once every batch is in the telemetry topic or in the dead-letter queue."""
        await asyncio.gather(*[await self._begin(record) for record in records])

    async def _begin(self, record: Record) -> Coroutine[None, None, None]:
        """Queues the batch behind those before it; the coroutine that it returns waits until it is stored."""
        try:
            return self._count(await self._forward(record))
        except UnreadableMessageError as error:
            return self._count(set_aside(record, error, self._dead_letters))
        except Exception as error:
            if is_outage(error):
                raise
            return self._count(process_or_set_aside(record, self._store, self._dead_letters, earlier_attempts=1))

    async def _count(self, ending: Awaitable[str]) -> None:
        MESSAGES.labels(self._service, INGEST, await ending).inc()

    async def _store(self, record: Record) -> str:
        return await (await self._forward(record))

    async def _forward(self, record: Record) -> Coroutine[None, None, str]:
        try:
            message = parse(telemetry_pb2.TelemetryBatch, record)
            prepared = self._intake.prepare(message, self._sender(record), _SOURCE)
        except BatchError as error:
            raise UnreadableMessageError(str(error)) from error
        return self._await_stored(record, prepared, await self._intake.enqueue(prepared))

    async def _await_stored(self, record: Record, prepared: Prepared, acknowledgement: Awaitable[Any]) -> str:
        try:
            await self._intake.await_stored(prepared, acknowledgement, _SOURCE)
        except BatchError as error:
            return await set_aside(record, UnreadableMessageError(str(error)), self._dead_letters)
        return "handled"

    def _sender(self, record: Record) -> Sender:
        """The vehicle in the message key. Raises BatchError when that vehicle is not admitted.

        Raises UnavailableError when the admission list cannot be read: the message is read again later.

        Kafka decides who may write to the topic, so the key takes the place of a certificate here.
        """
        sender = Sender(self._fleet_id, (record.key or b"").decode("utf-8", "replace"))
        try:
            self._admissions.admitted(Identity(self._fleet_id, IdentityKind.VEHICLE, sender.vehicle_id))
        except (PermissionDeniedError, PkiError) as error:
            REJECTIONS.labels(_SOURCE, NOT_YOURS).inc()
            raise BatchError(NOT_YOURS, "vehicle_id", str(error)) from error
        return sender


class CommandFeed:
    """Reads all commands of `fleet.command.v1`, without a group, and wakes the streams of their vehicles."""

    def __init__(
        self, service: str, settings: ServiceSettings, clock: Clock, horizon_s: float, max_per_vehicle: int = 1000
    ) -> None:
        self._service = service
        self._clock = clock
        self._reader = TopicReader(service, [COMMAND], settings, clock, name="commands", horizon_s=horizon_s)
        self._pending = PendingCommands(max_per_vehicle)
        self._streams: dict[str, set[asyncio.Event]] = {}
        self.caught_up = asyncio.Event()

    def problem(self) -> str | None:
        """Liveness check: why the feed counts as stuck, or None."""
        return self._reader.problem()

    async def run(self, stopping: asyncio.Event) -> None:
        """Runs until `stopping`. Starts at the oldest command that may not have expired."""
        try:
            async with self._reader as reader:
                while not stopping.is_set():
                    for records in (await reader.poll()).values():
                        for record in records:
                            self._apply(record)
                    if reader.caught_up():
                        self.caught_up.set()
                    self._pending.prune(self._clock.now_utc_ns())
                    PENDING_COMMANDS.set(len(self._pending))
        finally:
            for streams in self._streams.values():
                for wake in streams:
                    wake.set()

    def _apply(self, record: Record) -> None:
        try:
            command = command_of(record)
        except Exception as error:
            if is_outage(error):
                raise
            # Not sent to the dead-letter queue: every gateway would send it there again at every start.
            log.error("unreadable_command", partition=record.partition, offset=record.offset, error=str(error))
            MESSAGES.labels(self._service, COMMAND, "skipped").inc()
            return
        before = self._pending.dropped
        fresh = self._pending.put(command, self._clock.now_utc_ns())
        LIMITED.labels("command").inc(self._pending.dropped - before)
        MESSAGES.labels(self._service, COMMAND, "handled" if fresh else "repeat").inc()
        if fresh:
            for wake in self._streams.get(command.vehicle_id, ()):
                wake.set()

    async def watch(
        self, vehicle_id: str, stopping: asyncio.Event, pause_s: float
    ) -> AsyncIterator[tuple[PendingCommand, ...]]:
        """Yields the pending commands of a vehicle, then new ones as they arrive.

        Yields an empty tuple after `pause_s` seconds without a command, so that the caller can check the admission.
        """
        wake = asyncio.Event()
        streams = self._streams.setdefault(vehicle_id, set())
        streams.add(wake)
        delivered: dict[str, int] = {}
        try:
            while not stopping.is_set():
                wake.clear()
                if self.caught_up.is_set():
                    yield self._pending.due(vehicle_id, delivered, self._clock.now_utc_ns())
                await pause(wake, pause_s if self.caught_up.is_set() else 0.1)
        finally:
            streams.discard(wake)
            if not streams:
                self._streams.pop(vehicle_id, None)
