"""The composition root of telemetry_gateway."""

from __future__ import annotations

import asyncio

from fleetloop.domain.access import load_access
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.topics import INGEST, TELEMETRY
from fleetloop.kit.messaging.consumer import ConsumerLoop
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.security.admission import AdmissionList
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.telemetry.v1 import telemetry_pb2_grpc
from telemetry_gateway.intake import Intake, Outage
from telemetry_gateway.rpc import SERVICE_NAME, TelemetryService
from telemetry_gateway.settings import TelemetryGatewaySettings
from telemetry_gateway.stream import CommandFeed, Ingest
from telemetry_gateway.uploads import Uploads

SERVICE = "telemetry-gateway"
_EXPIRY_CHECK_S = 600.0
_TELEMETRY_REQUEST_BYTES = 262_144
"""Half of the telemetry topic's `max_bytes`. Requests of one message each would limit a partition to one message per
round trip."""
log = get_logger(__name__)


async def start(runtime: Runtime, settings: TelemetryGatewaySettings) -> None:
    """Creates the parts of the gateway and registers them with the runtime."""
    clock, outage = SystemClock(), Outage()
    catalogue = load_catalogue(settings.config_dir / "signals.yaml")
    admissions = AdmissionList(settings.admission_list)
    publisher = KafkaPublisher(SERVICE, settings)
    telemetry_publisher = KafkaPublisher(SERVICE, settings, _TELEMETRY_REQUEST_BYTES, topics=[TELEMETRY])
    for each in (publisher, telemetry_publisher):
        await each.start()
        runtime.on_stop(each.stop)
    intake = Intake(
        telemetry_publisher,
        catalogue,
        clock,
        outage,
        max_batch_bytes=settings.max_batch_bytes,
        spans_per_s=settings.batch_spans_per_s,
    )
    uploads = Uploads(
        settings.state_dir / "uploads",
        Objects(settings.objects_url),
        publisher,
        clock,
        settings.fleet_id,
        settings.max_open_uploads,
        settings.max_unfinished_bytes,
    )
    commands = CommandFeed(SERVICE, settings, clock, settings.command_horizon_s, settings.max_commands)
    ingest = Ingest(SERVICE, intake, publisher, admissions, settings.fleet_id)
    loop = ConsumerLoop(SERVICE, [INGEST], ingest.handle, settings, clock)
    service = TelemetryService(
        intake,
        uploads,
        commands,
        publisher,
        admissions,
        outage,
        clock,
        settings,
        catalogue.limits.max_future_s,
        runtime.stopping,
    )
    runtime.http.add_liveness("ingest", loop.problem)
    runtime.http.add_liveness("commands", commands.problem)
    runtime.http.add_readiness("commands", lambda: None if commands.caught_up.is_set() else "reading commands")
    runtime.spawn("kafka", outage.watch(runtime.stopping))
    runtime.spawn("commands", commands.run(runtime.stopping))
    runtime.spawn("ingest", loop.run(runtime.stopping))
    runtime.spawn("expire", _expire(runtime.stopping, uploads, settings.upload_expiry_s))
    runtime.spawn("close", service.close_streams())
    server = RpcServer(SERVICE, settings, load_access(settings.config_dir))
    telemetry_pb2_grpc.add_TelemetryServiceServicer_to_server(service, server.server)
    await server.start([SERVICE_NAME])
    runtime.on_stop(server.stop)


async def _expire(stopping: asyncio.Event, uploads: Uploads, expiry_s: float) -> None:
    while not stopping.is_set():
        removed = await asyncio.to_thread(uploads.expire, expiry_s)
        if removed:
            log.info("uploads_expired", parts=removed)
        await pause(stopping, _EXPIRY_CHECK_S)


if __name__ == "__main__":
    run_service(SERVICE, TelemetryGatewaySettings, start)
