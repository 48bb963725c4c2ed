"""From a batch that arrived to one that Kafka has, the same for the stream and for `fleet.ingest.v1`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any

from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.telemetry_codec import decode_batch, encode_batch
from fleetloop.domain.topics import TELEMETRY
from fleetloop.domain.validation import BatchError, validate
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from telemetry_gateway.core import SpanBudget, batch_id, check_size, check_speaker, trace_of
from telemetry_gateway.metrics import BATCHES, BYTES, FRAMES, REJECTIONS, count_dropped
from telemetry_gateway.model import Speaker
from telemetry_gateway.ports import Line

log = get_logger(__name__)
_TYPE = telemetry_pb2.TelemetryBatch.DESCRIPTOR.full_name


class KafkaAwayError(Exception):
    """Kafka did not acknowledge. The batch may or may not be there; send it again."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch that may go to Kafka."""

    event: Event
    frames: int
    """The batch's own instants."""
    dropped: tuple[str, ...]


class Outage:
    """Ends the process when Kafka fails it: a producer that has failed once keeps no promise about order."""

    def __init__(self) -> None:
        self._failed: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    def report(self, error: BaseException) -> None:
        """Notes the failure; the first counts."""
        self._error = self._error or error
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def watch(self, stopping: asyncio.Event) -> None:
        """Returns when `stopping`; raises what was reported."""
        self._failed = asyncio.get_running_loop().create_future()
        if self._error is not None:
            raise self._error
        ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(stopping.wait()), self._failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        ends[0].cancel()
        if self._failed.done():
            self._failed.result()


class Intake:
    """Checks batches and sends them."""

    def __init__(
        self,
        line: Line,
        catalogue: SignalCatalogue,
        clock: Clock,
        outage: Outage,
        *,
        max_batch_bytes: int,
        spans_per_s: int,
    ) -> None:
        self._line = line
        self._catalogue = catalogue
        self._clock = clock
        self._outage = outage
        self._max_batch_bytes = max_batch_bytes
        self._budget = SpanBudget(spans_per_s)

    def prepare(self, message: telemetry_pb2.TelemetryBatch, speaker: Speaker, way: str) -> Prepared:
        """The batch as an event, without columns that nobody knows. Raises BatchError, counted.

        Both ways in go through here, and this is the only check that a batch belongs to its speaker.
        """
        try:
            payload = message.SerializeToString()
            check_speaker(message.fleet_id, message.vehicle_id, speaker)
            check_size(len(payload), self._max_batch_bytes)
            batch = decode_batch(message)
            now_ns = self._clock.now_utc_ns()
            checked = validate(batch, self._catalogue, now_ns)
            if checked.batch is not batch:  # a column was dropped, or brought into the catalogue's type
                payload = encode_batch(checked.batch).SerializeToString()
                check_size(len(payload), self._max_batch_bytes)
        except BatchError as error:
            REJECTIONS.labels(way, error.code).inc()
            raise
        for signal in checked.dropped:
            count_dropped(signal)
        event_id = batch_id(batch)
        event = Event(TELEMETRY, batch.vehicle_id, event_id, _TYPE, payload, now_ns, trace_of(event_id))
        return Prepared(event, batch.frames(), checked.dropped)

    async def enqueue(self, prepared: Prepared) -> Awaitable[Any]:
        """Puts the batch behind those before it; await the result by `settle`. Raises as `settle` does."""
        event = prepared.event
        try:
            if not self._budget.allows(self._clock.monotonic_ns()):
                return await self._line.enqueue(event)
            with span("take batch", parent=event.traceparent, attributes={"vehicle": event.key}):
                return await self._line.enqueue(replace(event, traceparent=current_traceparent()))
        except KafkaError as error:
            raise self._refusal(error) from error

    async def settle(self, prepared: Prepared, acknowledgement: Awaitable[Any], way: str) -> None:
        """Returns once Kafka has the batch. Raises BatchError when Kafka finds it too large, or KafkaAwayError."""
        try:
            await acknowledgement
        except KafkaError as error:
            raise self._refusal(error) from error
        BATCHES.labels(way).inc()
        FRAMES.labels(way).inc(prepared.frames)
        BYTES.labels(way).inc(len(prepared.event.payload))

    def _refusal(self, error: KafkaError) -> Exception:
        if isinstance(error, MessageSizeTooLargeError):
            return BatchError("size", "batch", "is larger than Kafka takes; send fewer frames a batch")
        log.error("kafka_away", error=repr(error))
        self._outage.report(error)
        return KafkaAwayError(f"Kafka did not acknowledge: {error!r}")
