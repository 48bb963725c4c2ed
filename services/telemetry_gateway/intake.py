"""Checks batches and sends them to Kafka, for streams of vehicles and for `fleet.ingest.v1` alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any

from aiokafka.errors import KafkaError

from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.signals import SignalCatalogue
from fleetloop.domain.telemetry_codec import decode_batch, encode_batch
from fleetloop.domain.topics import TELEMETRY
from fleetloop.domain.validation import BatchError, validate
from fleetloop.kit.bounds import OutOfBoundsError, check_bounds
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.outage import is_outage
from fleetloop.kit.outage import OutageError
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from telemetry_gateway.arrival_time import time_correction
from telemetry_gateway.core import SpanBudget, batch_id, check_sender, check_size, trace_of
from telemetry_gateway.metrics import BATCHES, BYTES, CORRECTED_TIMES, FRAMES, REJECTIONS, count_dropped
from telemetry_gateway.model import Sender
from telemetry_gateway.ports import OrderedPublisher

log = get_logger(__name__)
_TYPE = telemetry_pb2.TelemetryBatch.DESCRIPTOR.full_name


class KafkaUnavailableError(OutageError):
    """Kafka did not acknowledge a batch. It may be stored or not; the sender retries."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch that has passed all checks."""

    event: Event
    frames: int
    """Number of the batch's own instants."""
    dropped: tuple[str, ...]
    """Names of the columns that were dropped, because the catalogue does not list them."""
    time_correction_ns: int = 0
    """Nanoseconds that were added to the batch's UTC."""


class Outage:
    """Ends the process after a failure of Kafka, because a producer that failed once no longer guarantees order."""

    def __init__(self) -> None:
        self._failed: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    def report(self, error: BaseException) -> None:
        """Records a failure; the first one ends the process."""
        self._error = self._error or error
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def watch(self, stopping: asyncio.Event) -> None:
        """Returns when `stopping` is set; raises the reported failure."""
        self._failed = asyncio.get_running_loop().create_future()
        if self._error is not None:
            raise self._error
        ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(stopping.wait()), self._failed]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        ends[0].cancel()
        if self._failed.done():
            self._failed.result()


def _check_bounds(message: telemetry_pb2.TelemetryBatch) -> None:
    try:
        check_bounds(message)
    except OutOfBoundsError as error:
        raise BatchError("identity", error.field, error.message) from error


class Intake:
    """Checks batches and sends them in order."""

    def __init__(
        self,
        publisher: OrderedPublisher,
        catalogue: SignalCatalogue,
        clock: Clock,
        outage: Outage,
        *,
        max_batch_bytes: int,
        spans_per_s: int,
    ) -> None:
        self._publisher = publisher
        self._catalogue = catalogue
        self._clock = clock
        self._outage = outage
        self._max_batch_bytes = max_batch_bytes
        self._budget = SpanBudget(spans_per_s)

    def prepare(
        self, message: telemetry_pb2.TelemetryBatch, sender: Sender, source: str, max_lead_s: float = 0.0
    ) -> Prepared:
        """Returns the batch as an event, without unknown columns. Counts and raises BatchError when it is invalid.

        Raises DeferredError for a batch that its sender can send again once the clock has reached it; see
        `time_correction` for `max_lead_s`. Batches of both sources pass through here, and this is the only check that
        a batch belongs to its sender.
        """
        try:
            payload = message.SerializeToString()
            check_size(len(payload), self._max_batch_bytes)
            _check_bounds(message)
            check_sender(message.fleet_id, message.vehicle_id, sender)
            batch = decode_batch(message)
            now_ns = self._clock.now_utc_ns()
            correction_ns = self._correction(batch, now_ns, max_lead_s)
            if correction_ns:
                batch = replace(batch, start_utc_ns=batch.start_utc_ns + correction_ns, utc_source="local")
            checked = validate(batch, self._catalogue, now_ns)
            if correction_ns or checked.batch is not batch:  # or a column was dropped or converted
                payload = encode_batch(checked.batch).SerializeToString()
                check_size(len(payload), self._max_batch_bytes)
        except BatchError as error:
            REJECTIONS.labels(source, error.code).inc()
            raise
        if correction_ns:
            CORRECTED_TIMES.labels(source).inc()
        for signal in checked.dropped:
            count_dropped(signal)
        event_id = batch_id(batch)
        event = Event(TELEMETRY, batch.vehicle_id, event_id, _TYPE, payload, now_ns, trace_of(event_id))
        return Prepared(event, batch.frames(), checked.dropped, correction_ns)

    def _correction(self, batch: FrameBatch, now_utc_ns: int, max_lead_s: float) -> int:
        if not len(batch.frame_offsets_ns):
            return 0  # the check refuses it
        end_utc_ns = batch.start_utc_ns + int(batch.frame_offsets_ns[-1])
        return time_correction(
            "start_utc_ns", end_utc_ns, now_utc_ns, self._catalogue.limits.max_future_s, max_lead_s
        )

    async def enqueue(self, prepared: Prepared) -> Awaitable[Any]:
        """Queues the batch behind earlier ones; pass the result to `await_stored`. Raises as `await_stored` does."""
        event = prepared.event
        try:
            if not self._budget.allows(self._clock.monotonic_ns()):
                return await self._publisher.enqueue(event)
            with span("receive batch", parent=event.traceparent, attributes={"vehicle": event.key}):
                return await self._publisher.enqueue(replace(event, traceparent=current_traceparent()))
        except KafkaError as error:
            raise self._refusal(error) from error

    async def await_stored(self, prepared: Prepared, acknowledgement: Awaitable[Any], source: str) -> None:
        """Returns once Kafka has the batch. Raises BatchError (too large for Kafka) or KafkaUnavailableError."""
        try:
            await acknowledgement
        except KafkaError as error:
            raise self._refusal(error) from error
        BATCHES.labels(source).inc()
        FRAMES.labels(source).inc(prepared.frames)
        BYTES.labels(source).inc(len(prepared.event.payload))

    def _refusal(self, error: KafkaError) -> Exception:
        if not is_outage(error):
            return BatchError("size", "batch", "is larger than Kafka accepts: send fewer frames per batch")
        log.error("kafka_unavailable", error=repr(error))
        self._outage.report(error)
        return KafkaUnavailableError(f"Kafka did not acknowledge: {error!r}")
