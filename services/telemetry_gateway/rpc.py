"""TelemetryService: telemetry, reports and clips from vehicles, and commands for them."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from aiokafka.errors import KafkaError

from fleetloop.domain.validation import BatchError
from fleetloop.kit.messaging.outage import is_outage
from fleetloop.kit.messaging.producer import Publisher
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.refusal import (
    AbortedError,
    DataLossError,
    InvalidArgumentError,
    PermissionDeniedError,
    RefusedError,
    ResourceExhaustedError,
    UnavailableError,
)
from fleetloop.kit.rpc import caller, peer_serial
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc
from telemetry_gateway.arrival_time import DeferredError, StreamOrder, time_correction
from telemetry_gateway.codec import clip_of, command_response, deferral, rejection, report_event
from telemetry_gateway.core import check_clip, check_digest
from telemetry_gateway.intake import Intake, KafkaUnavailableError, Outage, Prepared
from telemetry_gateway.metrics import COMMANDS, CORRECTED_TIMES, DEFERRALS, OPEN_STREAMS
from telemetry_gateway.model import Clip, FieldError, Sender
from telemetry_gateway.ordered_stream import OrderedStreams
from telemetry_gateway.ports import Admissions
from telemetry_gateway.settings import TelemetryGatewaySettings
from telemetry_gateway.stream import CommandFeed
from telemetry_gateway.uploads import DamagedClipError, TooManyUploadsError, UnfinishedClipError, Uploads
from telemetry_gateway.vehicle_limits import VehicleLimits, within

SERVICE_NAME = "fleet.telemetry.v1.TelemetryService"
_SOURCE = "stream"
_RESTARTING = "the gateway is restarting; connect again and send what was not acknowledged"
M = TypeVar("M")
Answer = Coroutine[None, None, telemetry_pb2.StreamTelemetryResponse]
Batches = OrderedStreams[telemetry_pb2.StreamTelemetryRequest, telemetry_pb2.StreamTelemetryResponse]


class TelemetryService(telemetry_pb2_grpc.TelemetryServiceServicer):
    """See protos/fleet/telemetry/v1/telemetry.proto for what each call promises."""

    def __init__(
        self,
        intake: Intake,
        uploads: Uploads,
        commands: CommandFeed,
        publisher: Publisher,
        admissions: Admissions,
        outage: Outage,
        clock: Clock,
        settings: TelemetryGatewaySettings,
        max_future_s: float,
        stopping: asyncio.Event,
    ) -> None:
        self._intake = intake
        self._uploads = uploads
        self._commands = commands
        self._publisher = publisher
        self._admissions = admissions
        self._outage = outage
        self._clock = clock
        self._settings = settings
        self._max_future_s = max_future_s
        self._stopping = stopping
        self._batches: Batches = OrderedStreams(settings.stream_window)
        self._limits = VehicleLimits(settings.max_streams, settings.max_open_uploads, settings.max_requests)

    async def close_streams(self) -> None:
        """Waits until the process stops and then stops reading; batches that were read are still acknowledged."""
        await self._stopping.wait()
        self._batches.close()

    async def StreamTelemetry(
        self, request_iterator: AsyncIterator[telemetry_pb2.StreamTelemetryRequest], context: object
    ) -> AsyncIterator[telemetry_pb2.StreamTelemetryResponse]:
        sender, admitted = self._admission()

        order = StreamOrder()

        async def begin(request: telemetry_pb2.StreamTelemetryRequest) -> Answer:
            admitted()
            batch = request.batch
            key, now_ns = (batch.boot_id, batch.sequence), self._clock.monotonic_ns()
            try:
                order.check(key, now_ns)
                prepared = self._intake.prepare(batch, sender, _SOURCE, self._settings.max_lead_s)
                return self._acknowledge(batch, prepared, await self._intake.enqueue(prepared))
            except BatchError as error:
                return _answer(rejection(*key, error))
            except DeferredError as error:
                DEFERRALS.inc()
                if error.field != "sequence":
                    order.defer(key, now_ns + error.retry_after_ns)
                return _answer(deferral(*key, error))
            except KafkaUnavailableError as error:
                raise UnavailableError(str(error)) from error

        with self._limits.stream("telemetry", sender.vehicle_id), OPEN_STREAMS.labels("telemetry").track_inprogress():
            async for response in self._batches.answer_in_order(self._on_time(request_iterator), begin):
                yield response
        if self._batches.closing:
            raise UnavailableError(_RESTARTING)

    async def _acknowledge(
        self, batch: telemetry_pb2.TelemetryBatch, prepared: Prepared, acknowledgement: Awaitable[Any]
    ) -> telemetry_pb2.StreamTelemetryResponse:
        try:
            await self._intake.await_stored(prepared, acknowledgement, _SOURCE)
        except BatchError as error:
            return rejection(batch.boot_id, batch.sequence, error)
        except KafkaUnavailableError as error:
            raise UnavailableError(str(error)) from error
        return telemetry_pb2.StreamTelemetryResponse(
            boot_id=batch.boot_id,
            sequence=batch.sequence,
            status=telemetry_pb2.BATCH_STATUS_STORED,
            dropped_columns=prepared.dropped,
            time_correction_ns=prepared.time_correction_ns,
        )

    async def ReportHealth(
        self, request: telemetry_pb2.ReportHealthRequest, context: object
    ) -> telemetry_pb2.ReportHealthResponse:
        sender, _ = self._admission()
        report = request.report
        _check_own(sender, report.fleet_id, report.vehicle_id, "report.vehicle_id")
        with self._limits.request(sender.vehicle_id):
            return await self._report(report)

    async def _report(self, report: health_pb2.VehicleReport) -> telemetry_pb2.ReportHealthResponse:
        try:
            event = report_event(report, self._clock.now_utc_ns())
        except FieldError as error:
            raise InvalidArgumentError(error.message, error.field) from error
        if len(event.payload) > 60_000:
            raise InvalidArgumentError("the report is larger than 60 kB: report fewer faults", "report.faults")
        try:
            await self._publisher.publish([event])
        except KafkaError as error:
            raise self._kafka_unavailable(error) from error
        return telemetry_pb2.ReportHealthResponse()

    async def UploadClip(
        self, request_iterator: AsyncIterator[telemetry_pb2.UploadClipRequest], context: object
    ) -> telemetry_pb2.UploadClipResponse:
        sender, admitted = self._admission()
        with self._limits.stream("upload", sender.vehicle_id):
            return await self._upload(sender, admitted, self._on_time(request_iterator))

    async def _upload(
        self, sender: Sender, admitted: Callable[[], None], requests: AsyncIterator[telemetry_pb2.UploadClipRequest]
    ) -> telemetry_pb2.UploadClipResponse:
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidArgumentError("the first message must be the header of the clip", "header")
        clip = clip_of(first.header)

        async def chunks() -> AsyncIterator[tuple[int, bytes]]:
            async for request in requests:
                if request.WhichOneof("part") != "chunk":
                    raise FieldError("chunk", "every message after the first must carry bytes")
                yield request.chunk.offset, request.chunk.data

        try:
            _check_own(sender, clip.fleet_id, clip.vehicle_id, "header.vehicle_id")
            check_clip(clip, self._settings.max_clip_bytes)
            clip = self._placed(clip)
            message, already = await self._uploads.receive(clip, chunks(), admitted)
        except FieldError as error:
            raise InvalidArgumentError(error.message, error.field) from error
        except DeferredError as error:
            raise UnavailableError(error.message, error.field) from error
        except DamagedClipError as error:
            raise DataLossError(str(error)) from error
        except UnfinishedClipError as error:
            raise AbortedError(str(error), "chunk.offset") from error
        except TooManyUploadsError as error:
            raise ResourceExhaustedError(str(error), "header.sha256") from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ResourceExhaustedError(
                "the gateway's disk is full", remedy="keep the clip and try again"
            ) from error
        except KafkaError as error:
            raise self._kafka_unavailable(error) from error
        return telemetry_pb2.UploadClipResponse(sha256=clip.sha256, address=message.address, already_stored=already)

    async def GetUpload(
        self, request: telemetry_pb2.GetUploadRequest, context: object
    ) -> telemetry_pb2.GetUploadResponse:
        sender, _ = self._admission()
        _check_own(sender, sender.fleet_id, request.vehicle_id, "vehicle_id")
        try:
            check_digest("sha256", request.sha256)
        except FieldError as error:
            raise InvalidArgumentError(error.message, error.field) from error
        with self._limits.request(sender.vehicle_id):
            offset, stored = await self._uploads.progress(request.vehicle_id, request.sha256)
        return telemetry_pb2.GetUploadResponse(next_offset=offset, stored=stored)

    async def StreamCommands(
        self, request: telemetry_pb2.StreamCommandsRequest, context: object
    ) -> AsyncIterator[telemetry_pb2.StreamCommandsResponse]:
        sender, admitted = self._admission()
        _check_own(sender, request.fleet_id, request.vehicle_id, "vehicle_id")
        pause_s = self._settings.admission_check_s
        with self._limits.stream("commands", sender.vehicle_id), OPEN_STREAMS.labels("commands").track_inprogress():
            async for commands in self._commands.watch(sender.vehicle_id, self._stopping, pause_s):
                admitted()
                for command in commands:
                    yield command_response(command)
                    COMMANDS.inc()
        raise UnavailableError(_RESTARTING)

    def _on_time(self, requests: AsyncIterator[M]) -> AsyncIterator[M]:
        settings = self._settings
        late = UnavailableError(
            f"no message within {settings.first_message_s:g} s of the start, or {settings.idle_s:g} s of another",
            remedy="open a stream when there is something to send",
        )
        return within(aiter(requests), settings.first_message_s, settings.idle_s, late)

    def _placed(self, clip: Clip) -> Clip:
        """The clip, with a corrected time if its own is too far in the future. Raises DeferredError."""
        now_ns, lead_s = self._clock.now_utc_ns(), self._settings.max_lead_s
        correction_ns = time_correction("header.end_utc_ns", clip.end_utc_ns, now_ns, self._max_future_s, lead_s)
        if not correction_ns:
            return clip
        CORRECTED_TIMES.labels("clip").inc()
        return replace(
            clip, start_utc_ns=clip.start_utc_ns + correction_ns, end_utc_ns=clip.end_utc_ns + correction_ns
        )

    def _admission(self) -> tuple[Sender, Callable[[], None]]:
        """The calling vehicle, and a check that raises once the vehicle or its certificate is no longer admitted."""
        who, serial = caller(), peer_serial()

        def admitted() -> None:
            self._admissions.admitted(who, serial)

        admitted()
        return Sender(who.fleet_id, who.name), admitted

    def _kafka_unavailable(self, error: KafkaError) -> RefusedError:
        if not is_outage(error):
            return InvalidArgumentError(f"Kafka refuses what it would have to store: {error!r}", remedy="send less")
        self._outage.report(error)
        return UnavailableError(f"Kafka did not acknowledge: {error!r}; try again")


async def _answer(response: telemetry_pb2.StreamTelemetryResponse) -> telemetry_pb2.StreamTelemetryResponse:
    return response


def _check_own(sender: Sender, fleet_id: str, vehicle_id: str, field: str) -> None:
    if (fleet_id, vehicle_id) != (sender.fleet_id, sender.vehicle_id):
        said = f"you are {sender.vehicle_id} of {sender.fleet_id} and may not send for another vehicle"
        raise PermissionDeniedError(said, field)
