"""One simulated vehicle: it sends batches and reports, obeys commands, and notes every acknowledgement.

It is honest and patient: what is not acknowledged is sent again, with the same sequence number. Its drive is a
function of time, so that every few seconds it is fast enough for the trigger of these tests to fire.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import grpc
import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from tests.chaos.history import SUMMED, Recorder
from tests.chaos.hostile_clips import HOSTILE

from fleetloop import connect_producer
from fleetloop.api.producer import Acknowledgement
from fleetloop.domain.clips import DriveInfo, DriveWriter
from fleetloop.domain.frames import Column, FrameBatch
from fleetloop.domain.tasks import TaskSchema
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.domain.topics import INGEST
from fleetloop.kit.ids import causal_id
from fleetloop.kit.rpc import open_channel
from fleetloop.kit.security.pki import Credentials
from fleetloop.protos.command.v1 import command_pb2
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc

S = 10**9
FRAMES = 10
MODEL = "a" * 64
LIMIT_KMH = 100
"""A vehicle above this speed is fast, as the triggers of these tests have it."""
_PICTURE_EVERY_NS = S // 4
_SLOW_NS = 2 * S
"""A vehicle is slow for this long after its boot, since the clip of a firing has pictures from before the onset."""
_RETRY_S = 0.5
_RPC_S = 10.0
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Rates:
    """How much the vehicles send."""

    batch_s: float = 1.0
    """Seconds of driving in one batch, and between two batches of a vehicle."""
    report_s: float = 4.0
    """Seconds between two reports of a vehicle."""
    fast_every_s: float = 24.0
    """Seconds between two moments at which a vehicle is fast, each of which fires the trigger once."""


def batch_id(vehicle: str, boot_id: bytes, sequence: int) -> str:
    """The id under which the gateway announces a batch."""
    return causal_id("batch", vehicle, boot_id, sequence)


def content_digest(batch: FrameBatch) -> str:
    """Digest of all that the archive must keep of a batch.

    UTC is left out: the gateway corrects a time that is far ahead of its own clock.
    """
    columns = dict(sorted(batch.columns.items()))
    message = encode_batch(replace(batch, start_utc_ns=0, columns=columns))
    return hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()[:16]


def note_sent(recorder: Recorder, batch: FrameBatch, *, made: bool = True) -> str:
    """Note that a batch is about to be sent; its id.

    A recorded batch, which `make_batch` has not made, is never fast: nothing may fire for it.
    """
    which = batch_id(batch.vehicle_id, batch.boot_id, batch.sequence)
    if not made:
        recorder.add("sent", id=which, vehicle=batch.vehicle_id, content=content_digest(batch))
        return which
    drive = {
        "boot": batch.boot_id.hex(),
        "start_ns": batch.start_monotonic_ns,
        "step_ns": int(batch.frame_offsets_ns[1]),
        "fast": "".join("1" if speed > LIMIT_KMH else "0" for speed in batch.columns["Vehicle.Speed"].values),
    }
    recorder.add("sent", id=which, vehicle=batch.vehicle_id, content=content_digest(batch), drive=drive)
    return which


def make_batch(
    fleet: str, vehicle: str, boot_id: bytes, sequence: int, start_ns: int, start_utc_ns: int, rates: Rates
) -> FrameBatch:
    """Return a batch of `rates.batch_s` seconds that starts at `start_ns` of the vehicle's monotonic clock."""
    step_ns = round(rates.batch_s * S) // FRAMES
    offsets = np.arange(FRAMES, dtype=np.int64) * step_ns
    phase_s = zlib.crc32(vehicle.encode()) % 1000 / 1000 * rates.fast_every_s
    at_s = (start_ns + offsets) / S + phase_s
    fast = (at_s % rates.fast_every_s > rates.fast_every_s - 2.0) & (start_ns + offsets >= _SLOW_NS)
    speed = np.where(fast, 130.0, 60.0).astype(np.float32)
    columns = {"Vehicle.Speed": Column(speed), "Autopilot.Engaged": Column(np.ones(FRAMES, np.bool_))}
    return FrameBatch(fleet, vehicle, boot_id, sequence, start_ns, start_utc_ns, "gnss", offsets, columns, MODEL)


def make_amounts(number: int) -> dict[str, Any]:
    """Return what a vehicle's n-th report counts: multiples of 1/8, whose sums are exact in any order."""
    amounts: dict[str, Any] = {name: (number * 7 + index) % 40 for index, name in enumerate(SUMMED)}
    return {**amounts, "autopilot_km": (number % 32 + 1) / 8}


def make_clip(
    schema: TaskSchema, fleet: str, vehicle: str, command: command_pb2.SendClip, utc_ns: int, hostile: str = ""
) -> bytes:
    """Return a clip around a firing's onset with pictures that no other firing's clip has.

    With `hostile`, it has the content of that name in `HOSTILE`.
    """
    rng = np.random.default_rng(zlib.crc32(command.firing_id.encode()))
    target = io.BytesIO()
    info = DriveInfo(
        vehicle,
        command.boot_id.hex(),
        start_monotonic_ns=max(0, command.start_monotonic_ns),  # there is nothing before the boot
        start_utc_ns=utc_ns,
        fleet_id=fleet,
        boot_id=command.boot_id,
        firing_id=command.firing_id,
    )
    if hostile:
        return HOSTILE[hostile](info, schema.cameras[0].name, command.onset_monotonic_ns)
    with DriveWriter(target, info) as writer:
        for number in range(-3, 2):
            at_ns = command.onset_monotonic_ns + number * _PICTURE_EVERY_NS
            for camera in schema.cameras:
                pixels = rng.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8)
                writer.image(camera.name, at_ns, pixels)
    return target.getvalue()


@dataclass(slots=True)
class Vehicle:
    """One vehicle. `run` works until it is cancelled; `driving` decides whether it makes new batches and reports."""

    fleet: str
    name: str
    boot_id: bytes
    gateway: str
    credentials: Credentials
    recorder: Recorder
    driving: asyncio.Event
    rates: Rates
    schema: TaskSchema
    rollout_id: str
    bootstrap_servers: str = ""
    """If set, batches are written to fleet.ingest.v1 of this broker instead of being sent to the gateway."""
    hostile_clips: list[str] = field(default_factory=list)
    """As in `Load`."""
    recording: Sequence[FrameBatch] = ()
    """If there are any, the vehicle sends their content over and over instead of drives that are made."""
    sequence: int = 0
    reports: int = 0
    began_ns: int = field(default_factory=time.monotonic_ns)
    """The harness's monotonic clock at this boot, where the vehicle's own begins."""
    began_utc_ns: int = field(default_factory=time.time_ns)
    """The vehicle's UTC at this boot."""

    async def run(self) -> None:
        """Send and obey until cancelled."""
        files = (self.credentials.ca, self.credentials.cert, self.credentials.key)
        async with open_channel("telemetry-gateway", self.gateway, *files) as channel, asyncio.TaskGroup() as group:
            stub = telemetry_pb2_grpc.TelemetryServiceStub(channel)
            group.create_task(self._ingest() if self.bootstrap_servers else self._stream())
            group.create_task(self._report(stub))
            group.create_task(self._obey(stub))

    async def only_obey(self) -> None:
        """Obey commands until cancelled, and send nothing else."""
        files = (self.credentials.ca, self.credentials.cert, self.credentials.key)
        async with open_channel("telemetry-gateway", self.gateway, *files) as channel:
            await self._obey(telemetry_pb2_grpc.TelemetryServiceStub(channel))

    async def _next_batch(self) -> FrameBatch:
        """Wait for the next second of driving; return its batch, noted as sent."""
        await asyncio.sleep(self.rates.batch_s)
        await self.driving.wait()
        span_ns = round(self.rates.batch_s * S)
        start_ns = max(0, time.monotonic_ns() - self.began_ns - span_ns)
        utc_ns = self.began_utc_ns + start_ns
        if self.recording:
            batch = replace(
                self.recording[self.sequence % len(self.recording)],
                fleet_id=self.fleet,
                vehicle_id=self.name,
                boot_id=self.boot_id,
                sequence=self.sequence,
                start_monotonic_ns=start_ns,
                start_utc_ns=utc_ns,
                model_digest=MODEL,
            )
        else:
            batch = make_batch(self.fleet, self.name, self.boot_id, self.sequence, start_ns, utc_ns, self.rates)
        note_sent(self.recorder, batch, made=not self.recording)
        self.sequence += 1
        return batch

    # --- batches over gRPC

    async def _stream(self) -> None:
        async with connect_producer(self.gateway, self.credentials) as producer:
            while True:
                batch = await self._next_batch()
                sent_s = time.monotonic()
                answer = await producer.send(batch)
                which = batch_id(self.name, self.boot_id, batch.sequence)
                answer.add_done_callback(partial(self._answered, which, sent_s))

    def _answered(self, which: str, sent_s: float, answer: asyncio.Future[Acknowledgement]) -> None:
        if answer.cancelled():
            return
        if (error := answer.exception()) is not None:
            self.recorder.add("refused", id=which, why=str(error))
        elif answer.result().stored:
            now_s = time.monotonic()
            self.recorder.add("acknowledged", id=which, took_s=round(now_s - sent_s, 4), at_s=round(now_s, 1))
        else:
            self.recorder.add("refused", id=which, why=answer.result().error)

    # --- batches over Kafka

    async def _ingest(self) -> None:
        producer: AIOKafkaProducer | None = None
        try:
            while True:
                batch = await self._next_batch()
                value = encode_batch(batch).SerializeToString()
                while True:
                    try:
                        if producer is None:
                            producer = AIOKafkaProducer(
                                bootstrap_servers=self.bootstrap_servers, enable_idempotence=True, acks="all"
                            )
                            await producer.start()
                        await producer.send_and_wait(INGEST, value, key=self.name.encode())
                        break
                    except KafkaError:  # the producer cannot go on in order: the batch is sent again by a new one
                        await _stopped(producer)
                        producer = None
                        await asyncio.sleep(_RETRY_S)
                which = batch_id(self.name, self.boot_id, batch.sequence)
                self.recorder.add("acknowledged", id=which, at_s=round(time.monotonic(), 1))
        finally:
            await _stopped(producer)

    # --- reports

    async def _report(self, stub: telemetry_pb2_grpc.TelemetryServiceStub) -> None:
        while True:
            await asyncio.sleep(self.rates.report_s)
            await self.driving.wait()
            number, self.reports = self.reports, self.reports + 1
            which = causal_id("report", self.name, self.boot_id, number)
            amounts = make_amounts(number)
            now_ns = self.began_utc_ns + time.monotonic_ns() - self.began_ns
            report = health_pb2.VehicleReport(
                fleet_id=self.fleet,
                vehicle_id=self.name,
                boot_id=self.boot_id,
                sequence=number,
                start_utc_ns=now_ns - round(self.rates.report_s * S),
                end_utc_ns=now_ns,
                model_digest=MODEL,
                rollout_id=self.rollout_id,
                cohort=health_pb2.COHORT_CANARY,
                **amounts,
            )
            self.recorder.add("report_sent", id=which, amounts=amounts)
            request = telemetry_pb2.ReportHealthRequest(report=report)
            while True:
                try:
                    await stub.ReportHealth(request, timeout=_RPC_S)
                    break
                except grpc.aio.AioRpcError as error:
                    _must_be_temporary(error)
                    await asyncio.sleep(_RETRY_S)
            self.recorder.add("report_acknowledged", id=which)

    # --- commands

    async def _obey(self, stub: telemetry_pb2_grpc.TelemetryServiceStub) -> None:
        """Send each clip that is asked for. A command is repeated until its clip has arrived."""
        done: set[str] = set()
        request = telemetry_pb2.StreamCommandsRequest(fleet_id=self.fleet, vehicle_id=self.name)
        while True:
            try:
                async for answer in stub.StreamCommands(request):
                    command = answer.command
                    if command.HasField("send_clip") and command.command_id not in done:
                        await self._upload(stub, command.command_id, command.send_clip)
                        done.add(command.command_id)
            except grpc.aio.AioRpcError as error:
                _must_be_temporary(error)
            await asyncio.sleep(_RETRY_S)

    async def _upload(
        self, stub: telemetry_pb2_grpc.TelemetryServiceStub, command_id: str, wanted: command_pb2.SendClip
    ) -> None:
        start_utc_ns = self.began_utc_ns + wanted.start_monotonic_ns
        hostile = self._hostile_content(wanted.firing_id)
        content = await asyncio.to_thread(
            make_clip, self.schema, self.fleet, self.name, wanted, start_utc_ns, hostile
        )
        sha256 = hashlib.sha256(content).hexdigest()
        header = telemetry_pb2.ClipHeader(
            sha256=sha256,
            size_bytes=len(content),
            fleet_id=self.fleet,
            vehicle_id=self.name,
            command_id=command_id,
            firing_id=wanted.firing_id,
            start_utc_ns=start_utc_ns,
            end_utc_ns=start_utc_ns + wanted.end_monotonic_ns - wanted.start_monotonic_ns,
            cameras=[camera.name for camera in self.schema.cameras],
            boot_id=wanted.boot_id,
            model_digest=MODEL,
        )
        asked = telemetry_pb2.GetUploadRequest(sha256=sha256, vehicle_id=self.name)
        while True:
            try:
                progress = await stub.GetUpload(asked, timeout=_RPC_S)
                offset = len(content) if progress.stored else progress.next_offset
                await stub.UploadClip(_parts(header, content, offset), timeout=2 * _RPC_S)
                break
            except grpc.aio.AioRpcError as error:
                _must_be_temporary(error)
                await asyncio.sleep(_RETRY_S)
        self.recorder.add("clip", firing=wanted.firing_id, clip=sha256)

    def _hostile_content(self, firing_id: str) -> str:
        """Name of the hostile content that this firing's clip has, noted before it is sent; empty for none."""
        known = self.recorder.history.hostile.get(firing_id, "")
        if not known and self.hostile_clips:
            known = self.hostile_clips.pop(0)
            self.recorder.add("hostile", firing=firing_id, input=known)
        return known


async def _parts(
    header: telemetry_pb2.ClipHeader, content: bytes, offset: int
) -> AsyncIterator[telemetry_pb2.UploadClipRequest]:
    yield telemetry_pb2.UploadClipRequest(header=header)
    for start in range(offset, len(content), _CHUNK_BYTES):
        chunk = telemetry_pb2.ClipChunk(offset=start, data=content[start : start + _CHUNK_BYTES])
        yield telemetry_pb2.UploadClipRequest(chunk=chunk)


async def _stopped(producer: AIOKafkaProducer | None) -> None:
    if producer is not None:
        with suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(producer.stop(), 5)


def _must_be_temporary(error: grpc.aio.AioRpcError) -> None:
    """Raise the error again if it is a decision about this vehicle, which no retry changes."""
    decided = (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    )
    if error.code() in decided:
        raise error
