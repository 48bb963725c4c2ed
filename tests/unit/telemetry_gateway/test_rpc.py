"""A vehicle speaks only for itself, in every call, whatever its messages say: over real mTLS, without Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from tests.unit.telemetry_gateway.test_intake import BATCH, OrderedPublisher, intake_on

from fleetloop.domain.access import load_access
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.domain.topics import HEALTH
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.rpc import RpcServer, open_channel
from fleetloop.kit.security.admission import AdmissionList, admit
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.security.pki import CertificateAuthority
from fleetloop.kit.testing import RecordingPublisher
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.telemetry.v1 import telemetry_pb2, telemetry_pb2_grpc
from telemetry_gateway.intake import Outage
from telemetry_gateway.rpc import SERVICE_NAME, TelemetryService
from telemetry_gateway.settings import TelemetryGatewaySettings

NOW = datetime.now(UTC)


class Uploads:
    """Takes note of clips that were begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    async def receive(self, clip: Any, chunks: object, admitted: object) -> tuple[Any, bool]:
        self.begun.append(clip.vehicle_id)
        raise AssertionError("no clip is expected here")

    async def progress(self, vehicle_id: str, sha256: str) -> tuple[int, bool]:
        self.begun.append(vehicle_id)
        return 7, False


class Gateway:
    """The servicer on a port, with the vehicle `car` of the fleet `fleet` as its caller."""

    def __init__(self, folder: Path) -> None:
        authority = CertificateAuthority.open(folder / "authority", fleet="fleet", now=NOW)
        own = authority.issue(IdentityKind.SERVICE, "telemetry-gateway", folder / "own", now=NOW)
        self._car = authority.issue(IdentityKind.VEHICLE, "car", folder / "car", now=NOW)
        admit(folder / "admission.json", self._car.identity, self._car.serial, now=NOW)
        settings = TelemetryGatewaySettings(
            fleet_id="fleet",
            kafka_bootstrap_servers="nowhere:1",
            admission_list=folder / "admission.json",
            tls_ca=own.ca,
            tls_cert=own.cert,
            tls_key=own.key,
        )
        self.line, self.publisher, self.uploads = OrderedPublisher(), RecordingPublisher(), Uploads()
        uploads: Any = self.uploads
        commands: Any = None
        self.outage = Outage()
        servicer = TelemetryService(
            intake_on(self.line),
            uploads,
            commands,
            self.publisher,
            AdmissionList(folder / "admission.json"),
            self.outage,
            SystemClock(),
            settings,
            60.0,
            asyncio.Event(),
        )
        self._server = RpcServer("test-gateway-rpc", settings, load_access(Path("config")))
        telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(servicer, self._server.server)

    async def start(self) -> telemetry_pb2_grpc.TelemetryServiceStub:
        """Listens, and returns the vehicle's stub."""
        await self._server.start([SERVICE_NAME])
        car = self._car
        self._channel = open_channel("telemetry-gateway", f"127.0.0.1:{self._server.port}", car.ca, car.cert, car.key)
        return telemetry_pb2_grpc.TelemetryServiceStub(self._channel)

    async def stop(self) -> None:
        await self._channel.close()
        await self._server.stop(0)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    await made.stop()


OTHERS = [("fleet", "other"), ("elsewhere", "car"), ("", ""), ("fleet", "")]
PERMISSION_DENIED = grpc.StatusCode.PERMISSION_DENIED


async def test_the_batch_of_another_vehicle_is_rejected_and_the_stream_goes_on(gateway: Gateway) -> None:
    stub = await gateway.start()
    batches = [
        replace(BATCH, fleet_id=fleet, vehicle_id=vehicle, sequence=n) for n, (fleet, vehicle) in enumerate(OTHERS)
    ]
    batches.append(replace(BATCH, sequence=len(OTHERS)))
    stream = stub.StreamTelemetry(
        iter([telemetry_pb2.StreamTelemetryRequest(batch=encode_batch(batch)) for batch in batches]), timeout=20
    )
    answers = [answer async for answer in stream]
    assert [answer.error.code for answer in answers[:-1]] == [telemetry_pb2.BATCH_ERROR_CODE_NOT_YOURS] * 4
    assert answers[-1].status == telemetry_pb2.BATCH_STATUS_STORED
    assert len(gateway.line.events) == 1


@pytest.mark.parametrize(("fleet", "vehicle"), OTHERS)
async def test_the_report_of_another_vehicle_is_refused(gateway: Gateway, fleet: str, vehicle: str) -> None:
    stub = await gateway.start()
    report = health_pb2.VehicleReport(fleet_id=fleet, vehicle_id=vehicle, boot_id=b"12345678")
    with pytest.raises(grpc.aio.AioRpcError, match=r"report\.vehicle_id") as caught:
        await stub.ReportHealth(telemetry_pb2.ReportHealthRequest(report=report), timeout=20)
    assert (caught.value.code(), gateway.publisher.events) == (PERMISSION_DENIED, [])


async def test_a_report_of_ones_own_is_published(gateway: Gateway) -> None:
    stub = await gateway.start()
    report = health_pb2.VehicleReport(fleet_id="fleet", vehicle_id="car", boot_id=b"12345678")
    await stub.ReportHealth(telemetry_pb2.ReportHealthRequest(report=report), timeout=20)
    assert [(event.topic, event.key) for event in gateway.publisher.events] == [(HEALTH, "car")]


@pytest.mark.parametrize(
    ("error", "code", "ends"),
    [
        (MessageSizeTooLargeError(), grpc.StatusCode.INVALID_ARGUMENT, False),
        (KafkaConnectionError("gone"), grpc.StatusCode.UNAVAILABLE, True),
    ],
)
async def test_a_report_that_kafka_refuses_is_no_outage(
    gateway: Gateway, error: Exception, code: grpc.StatusCode, ends: bool
) -> None:
    stub = await gateway.start()
    gateway.publisher.broken = error
    report = health_pb2.VehicleReport(fleet_id="fleet", vehicle_id="car", boot_id=b"12345678")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ReportHealth(telemetry_pb2.ReportHealthRequest(report=report), timeout=20)
    assert caught.value.code() is code
    assert (gateway.outage._error is not None) == ends


@pytest.mark.parametrize(("fleet", "vehicle"), OTHERS)
async def test_the_clip_of_another_vehicle_is_refused(gateway: Gateway, fleet: str, vehicle: str) -> None:
    stub = await gateway.start()
    header = telemetry_pb2.ClipHeader(fleet_id=fleet, vehicle_id=vehicle, sha256="a" * 64, size_bytes=100)
    with pytest.raises(grpc.aio.AioRpcError, match=r"header\.vehicle_id") as caught:
        await stub.UploadClip(iter([telemetry_pb2.UploadClipRequest(header=header)]), timeout=20)
    assert (caught.value.code(), gateway.uploads.begun) == (PERMISSION_DENIED, [])


async def test_uploads_and_commands_of_another_vehicle_are_not_told(gateway: Gateway) -> None:
    stub = await gateway.start()
    request = telemetry_pb2.GetUploadRequest(vehicle_id="other", sha256="a" * 64)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetUpload(request, timeout=20)
    assert (caught.value.code(), gateway.uploads.begun) == (PERMISSION_DENIED, [])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        commands = stub.StreamCommands(
            telemetry_pb2.StreamCommandsRequest(fleet_id="fleet", vehicle_id="other"), timeout=20
        )
        await commands.read()
    assert caught.value.code() is PERMISSION_DENIED
    request.vehicle_id = "car"
    assert (await stub.GetUpload(request, timeout=20)).next_offset == 7
