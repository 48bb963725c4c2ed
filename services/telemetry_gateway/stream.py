"""The Kafka shell: batches that producers wrote to Kafka themselves, and the commands for vehicles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from typing import Any

from fleetloop.domain.messages import parse
from fleetloop.domain.topics import COMMAND, INGEST
from fleetloop.domain.validation import BatchError
from fleetloop.kit.messaging.partition_reader import TopicReader
from fleetloop.kit.messaging.producer import KafkaPublisher, Record, UnreadableMessageError
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import MESSAGES
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from telemetry_gateway.board import CommandBoard
from telemetry_gateway.codec import command_of
from telemetry_gateway.intake import Intake, Prepared
from telemetry_gateway.metrics import REJECTIONS, STANDING_COMMANDS
from telemetry_gateway.model import NOT_YOURS, Speaker, StandingCommand
from telemetry_gateway.ports import Admissions

log = get_logger(__name__)
_WAY = "ingest"


class Ingest:
    """Checks what producers wrote to `fleet.ingest.v1` and forwards it; bad batches go to the dead letters."""

    def __init__(
        self, service: str, intake: Intake, publisher: KafkaPublisher, admissions: Admissions, fleet_id: str
    ) -> None:
        self._service = service
        self._intake = intake
        self._publisher = publisher
        self._admissions = admissions
        self._fleet_id = fleet_id

    async def handle(self, records: Sequence[Record]) -> None:
        """Returns once every batch is in Kafka again, checked, or in the dead letters."""
        await asyncio.gather(*[await self._begin(record) for record in records])

    async def _begin(self, record: Record) -> Coroutine[None, None, None]:
        try:
            message = parse(telemetry_pb2.TelemetryBatch, record)
            prepared = self._intake.prepare(message, self._speaker(record), _WAY)
            return self._settle(record, prepared, await self._intake.enqueue(prepared))
        except (BatchError, UnreadableMessageError) as error:
            return self._bury(record, error)

    async def _settle(self, record: Record, prepared: Prepared, acknowledgement: Awaitable[Any]) -> None:
        try:
            await self._intake.settle(prepared, acknowledgement, _WAY)
        except BatchError as error:
            await self._bury(record, error)
        else:
            MESSAGES.labels(self._service, INGEST, "handled").inc()

    async def _bury(self, record: Record, error: Exception) -> None:
        await self._publisher.bury(record, error)
        MESSAGES.labels(self._service, INGEST, "dead").inc()

    def _speaker(self, record: Record) -> Speaker:
        """A producer that may write to the topic speaks for the vehicle in the key, if that vehicle is admitted."""
        speaker = Speaker(self._fleet_id, (record.key or b"").decode("utf-8", "replace"))
        refusal = self._admissions.refusal(f"spiffe://{self._fleet_id}/vehicle/{speaker.vehicle_id}")
        if refusal is not None:
            REJECTIONS.labels(_WAY, NOT_YOURS).inc()
            raise BatchError(NOT_YOURS, "vehicle_id", refusal)
        return speaker


class CommandFeed:
    """Reads all of `fleet.command.v1` without a group, and wakes the streams of the vehicles that are meant."""

    def __init__(self, service: str, settings: ServiceSettings, clock: Clock, horizon_s: float) -> None:
        self._service = service
        self._clock = clock
        self._reader = TopicReader(service, [COMMAND], settings, clock, name="commands", horizon_s=horizon_s)
        self._board = CommandBoard()
        self._streams: dict[str, set[asyncio.Event]] = {}
        self.caught_up = asyncio.Event()

    def problem(self) -> str | None:
        """Liveness check: why the feed counts as stuck, or None."""
        return self._reader.problem()

    async def run(self, stopping: asyncio.Event) -> None:
        """Runs until `stopping`. Reads from the oldest command that can still stand."""
        try:
            async with self._reader as reader:
                while not stopping.is_set():
                    for records in (await reader.poll()).values():
                        for record in records:
                            self._take(record)
                    if reader.caught_up():
                        self.caught_up.set()
                    self._board.prune(self._clock.now_utc_ns())
                    STANDING_COMMANDS.set(len(self._board))
        finally:
            for streams in self._streams.values():
                for wake in streams:
                    wake.set()

    def _take(self, record: Record) -> None:
        try:
            command = command_of(record)
        except UnreadableMessageError as error:
            # Not buried: every gateway reads all of the topic, and each would bury it at every start.
            log.error("unreadable_command", partition=record.partition, offset=record.offset, error=str(error))
            MESSAGES.labels(self._service, COMMAND, "skipped").inc()
            return
        fresh = self._board.put(command, self._clock.now_utc_ns())
        MESSAGES.labels(self._service, COMMAND, "handled" if fresh else "repeat").inc()
        if fresh:
            for wake in self._streams.get(command.vehicle_id, ()):
                wake.set()

    async def watch(
        self, vehicle_id: str, stopping: asyncio.Event, pause_s: float
    ) -> AsyncIterator[tuple[StandingCommand, ...]]:
        """What stands for a vehicle, then what is new; an empty tuple every `pause_s` when nothing is."""
        wake = asyncio.Event()
        streams = self._streams.setdefault(vehicle_id, set())
        streams.add(wake)
        told: dict[str, int] = {}
        try:
            while not stopping.is_set():
                if self.caught_up.is_set():
                    wake.clear()
                    yield self._board.due(vehicle_id, told, self._clock.now_utc_ns())
                await pause(wake, pause_s if self.caught_up.is_set() else 0.1)
        finally:
            streams.discard(wake)
            if not streams:
                self._streams.pop(vehicle_id, None)
