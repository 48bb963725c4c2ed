"""One vehicle opens thousands of streams, over real mTLS, and another one is served as if it were not there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY
from tests.unit.fleetloop.kit.messaging.fake_consumer import FakeConsumer
from tests.unit.telemetry_gateway.test_codec import CLIP
from tests.unit.telemetry_gateway.test_intake import BATCH, OrderedPublisher, intake_on

from fleetloop.domain.access import load_access
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.refusal import ResourceExhaustedError
from fleetloop.kit.rpc import RpcServer, open_channel
from fleetloop.kit.security.admission import AdmissionList, admit
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.security.pki import CertificateAuthority
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc
from telemetry_gateway.intake import Outage
from telemetry_gateway.rpc import SERVICE_NAME, TelemetryService
from telemetry_gateway.settings import TelemetryGatewaySettings
from telemetry_gateway.stream import CommandFeed
from telemetry_gateway.uploads import TooManyUploadsError, Uploads
from telemetry_gateway.vehicle_limits import VehicleLimits

Stub = telemetry_pb2_grpc.TelemetryServiceStub
NOW = datetime.now(UTC)
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


class SlowPublisher:
    """Acknowledges when told to."""

    def __init__(self) -> None:
        self.acknowledged = asyncio.Event()
        self.waiting = 0

    async def publish(self, events: Iterable[Event]) -> None:
        self.waiting += 1
        await self.acknowledged.wait()


class Gateway:
    """The servicer on a port, without Kafka, with two vehicles."""

    def __init__(self, folder: Path) -> None:
        authority = CertificateAuthority.open(folder / "authority", fleet="fleet", now=NOW)
        own = authority.issue(IdentityKind.SERVICE, "telemetry-gateway", folder / "own", now=NOW)
        self._vehicles = {}
        for name in ("car", "other"):
            issued = self._vehicles[name] = authority.issue(IdentityKind.VEHICLE, name, folder / name, now=NOW)
            admit(folder / "admission.json", issued.identity, issued.serial, now=NOW)
        settings = TelemetryGatewaySettings(
            fleet_id="fleet",
            kafka_bootstrap_servers="nowhere:1",
            admission_list=folder / "admission.json",
            tls_ca=own.ca,
            tls_cert=own.cert,
            tls_key=own.key,
            first_message_s=0.5,
            idle_s=8.0,
        )
        self.publisher: Any = SlowPublisher()
        clock = SystemClock()
        feed = CommandFeed("limits", settings, clock, 60)
        feed.caught_up.set()
        uploads = Uploads(
            folder / "uploads", Objects(f"file://{folder}/objects"), self.publisher, clock, "fleet", 8, 10**9
        )
        servicer = TelemetryService(
            intake_on(OrderedPublisher()),
            uploads,
            feed,
            self.publisher,
            AdmissionList(folder / "admission.json"),
            Outage(),
            clock,
            settings,
            60.0,
            asyncio.Event(),
        )
        self._server = RpcServer("test-limits", settings, load_access(Path("config")))
        telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(servicer, self._server.server)
        self._channels: list[grpc.aio.Channel] = []

    async def start(self) -> None:
        await self._server.start([SERVICE_NAME])

    def stub(self, name: str) -> Stub:
        """A new connection of a vehicle."""
        files = self._vehicles[name]
        self._channels.append(
            open_channel("telemetry-gateway", f"127.0.0.1:{self._server.port}", files.ca, files.cert, files.key)
        )
        return Stub(self._channels[-1])

    async def stop(self) -> None:
        for channel in self._channels:
            await channel.close()
        await self._server.stop(0)


@pytest.fixture
async def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    FakeConsumer().install(monkeypatch)
    made = Gateway(tmp_path)
    await made.start()
    yield made
    await made.stop()


def limited(kind: str) -> float:
    return REGISTRY.get_sample_value("fleetloop_gateway_limited_total", {"kind": kind}) or 0.0


def request_of(vehicle: str, sequence: int = 0) -> telemetry_pb2.StreamTelemetryRequest:
    return telemetry_pb2.StreamTelemetryRequest(
        batch=encode_batch(replace(BATCH, vehicle_id=vehicle, sequence=sequence))
    )


async def test_thousands_of_streams_of_one_vehicle_leave_another_one_served(gateway: Gateway) -> None:
    """12,000 is more than the server runs at all; each stream but the newest four ends, with a remedy."""
    request = telemetry_pb2.StreamCommandsRequest(fleet_id="fleet", vehicle_id="car")
    greedy = [gateway.stub("car") for _ in range(3)]
    stream = gateway.stub("other").StreamTelemetry()
    before, calls, slowest_s = limited("commands"), [], 0.0

    async def exchange(sequence: int) -> float:
        began = time.monotonic()
        await stream.write(request_of("other", sequence))
        response = await stream.read()
        assert response.status == telemetry_pb2.BATCH_STATUS_STORED
        return time.monotonic() - began

    await exchange(0)
    for step in range(1, 121):
        calls += [stub.StreamCommands(request) for stub in greedy for _ in range(34)]
        await asyncio.sleep(0)
        slowest_s = max(slowest_s, await exchange(step))
    async with asyncio.timeout(120):
        while (ended := [call for call in calls if call.done()]) and len(ended) < len(calls) - 4:
            await asyncio.sleep(0.05)
    codes = [await call.code() for call in ended]
    refused = [call for call, code in zip(ended, codes, strict=True) if code is EXHAUSTED]
    assert len(calls) > 12_000
    assert set(codes) <= {EXHAUSTED, grpc.StatusCode.CANCELLED}, "gRPC itself cancels some of a burst"
    assert limited("commands") - before >= len(refused) > 1000
    assert "close streams that you do not use" in (await refused[0].details() or "")
    async with asyncio.timeout(60):
        while REGISTRY.get_sample_value("fleetloop_gateway_open_streams", {"kind": "commands"}) != 4:
            await asyncio.sleep(0.05)
    assert slowest_s < 10
    for call in calls:
        call.cancel()
    stream.cancel()


async def test_a_reconnecting_vehicle_is_not_locked_out_by_its_dead_streams(gateway: Gateway) -> None:
    streams = []
    for number in range(10):
        streams.append(gateway.stub("car").StreamTelemetry())
        await streams[-1].write(request_of("car", number))
        assert (await streams[-1].read()).sequence == number
    assert [await stream.code() for stream in streams[:6]] == [EXHAUSTED] * 6
    assert not any(stream.done() for stream in streams[6:])
    for stream in streams[6:]:
        stream.cancel()


async def test_uploads_without_a_header_end_and_occupy_few_slots(gateway: Gateway) -> None:
    uploads = [gateway.stub("car").UploadClip() for _ in range(20)]
    codes = [await asyncio.wait_for(upload.code(), 60) for upload in uploads]
    assert codes.count(EXHAUSTED) == 12
    assert codes.count(grpc.StatusCode.UNAVAILABLE) == 8


@pytest.mark.parametrize("first", [False, True])
async def test_a_silent_stream_ends_with_a_remedy(gateway: Gateway, first: bool) -> None:
    stream = gateway.stub("car").StreamTelemetry()
    if first:
        await stream.write(request_of("car"))
        await stream.read()
    began = time.monotonic()
    assert await asyncio.wait_for(stream.code(), 60) is grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - began >= (0.9 if first else 0.4)
    assert "open a stream when there is something to send" in (await stream.details() or "")


async def test_requests_in_progress_are_limited_and_those_of_others_are_not(gateway: Gateway) -> None:
    stub = gateway.stub("car")

    def report(vehicle: str) -> telemetry_pb2.ReportHealthRequest:
        report = health_pb2.VehicleReport(fleet_id="fleet", vehicle_id=vehicle, boot_id=b"12345678")
        return telemetry_pb2.ReportHealthRequest(report=report)

    calls = [stub.ReportHealth(report("car")) for _ in range(500)]
    while sum(call.done() for call in calls) < 468:
        await asyncio.sleep(0.01)
    theirs = gateway.stub("other").ReportHealth(report("other"))
    while gateway.publisher.waiting < 33:
        await asyncio.sleep(0.01)
    gateway.publisher.acknowledged.set()
    await theirs
    codes = [await call.code() for call in calls]
    assert codes.count(grpc.StatusCode.OK) == 32
    assert codes.count(EXHAUSTED) == 468
    await stub.ReportHealth(report("car"))


async def test_unfinished_uploads_are_limited_in_number_and_bytes_and_never_lock_a_vehicle_out(
    tmp_path: Path,
) -> None:
    publisher: Any = SlowPublisher()
    uploads = Uploads(
        tmp_path / "uploads", Objects(f"file://{tmp_path}/objects"), publisher, SystemClock(), "fleet", 3, 10_000
    )

    async def begin(vehicle: str, name: str, size: int, sent: int, hold: asyncio.Event | None = None) -> None:
        async def chunks() -> AsyncIterator[tuple[int, bytes]]:
            yield 0, bytes(sent)
            if hold:
                await hold.wait()

        clip = replace(CLIP, vehicle_id=vehicle, sha256=name * 64, size_bytes=size)
        await uploads.receive(clip, chunks(), lambda: None)

    async def left(vehicle: str, name: str, size: int, sent: int) -> None:
        with pytest.raises(Exception, match="the stream ended"):
            await begin(vehicle, name, size, sent)

    def parts(vehicle: str) -> str:
        return "".join(sorted(path.name[0] for path in (tmp_path / "uploads" / vehicle).glob("*.part")))

    await left("other", "e", 5000, 100)
    for name in "abcd":
        await left("car", name, 4000, 3000)
        await asyncio.sleep(0.01)
    assert parts("car") == "bcd", "9,000 bytes in three parts and 4,000 more are too many"
    for name in "123":
        await left("car", name, 100, 10)
        await asyncio.sleep(0.01)
    assert parts("car") == "123"
    hold = asyncio.Event()
    busy = [asyncio.create_task(begin("car", name, 4500, 10, hold)) for name in "45"]
    await asyncio.sleep(0.2)
    with pytest.raises(TooManyUploadsError, match="finish one first"):
        await begin("car", "6", 4500, 10)
    assert set("45") <= set(parts("car"))
    hold.set()
    await asyncio.gather(*busy, return_exceptions=True)
    await left("car", "6", 4500, 10)
    assert parts("other") == "e"


async def test_nothing_is_remembered_of_streams_and_requests_that_ended() -> None:
    limits = VehicleLimits(2, 2, 4)

    async def hold(vehicle: str, kind: str) -> str:
        try:
            with limits.stream(kind, vehicle), limits.request(f"{vehicle}{kind}"):
                await asyncio.sleep(0.05)
        except ResourceExhaustedError:
            return "superseded"
        return "ended"

    tasks = [asyncio.create_task(hold("car", kind)) for kind in ("telemetry", "commands", "telemetry", "telemetry")]
    tasks[1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[1], asyncio.CancelledError), "a cancellation by others stays one"
    assert [each for each in found if isinstance(each, str)] == ["superseded", "ended", "ended"]
    assert (limits._streams, limits._requests) == ({}, {})
