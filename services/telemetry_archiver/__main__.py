"""The composition root of telemetry_archiver."""

from __future__ import annotations

from fleetloop.domain.access import load_access
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.storage.objects import Objects
from fleetloop.protos.archive.v1 import archive_pb2_grpc
from telemetry_archiver.rpc import SERVICE_NAME, ArchiveService
from telemetry_archiver.settings import TelemetryArchiverSettings
from telemetry_archiver.store import Archive
from telemetry_archiver.stream import ArchiverStream

SERVICE = "telemetry-archiver"


async def start(runtime: Runtime, settings: TelemetryArchiverSettings) -> None:
    """Creates the parts of the archiver and registers them with the runtime."""
    publisher = KafkaPublisher(SERVICE, settings)
    await publisher.start()
    runtime.on_stop(publisher.stop)
    archive = Archive(Objects(settings.objects_url), settings.fleet_id, settings.lateness_ms)
    stream = ArchiverStream(SERVICE, archive, publisher, SystemClock(), settings)
    runtime.http.add_liveness("consumer", stream.problem)
    runtime.spawn("archive", stream.run(runtime.stopping))
    server = RpcServer(SERVICE, settings, load_access(settings.config_dir))
    archive_pb2_grpc.add_ArchiveServiceServicer_to_server(ArchiveService(archive), server.server)
    await server.start([SERVICE_NAME])
    runtime.on_stop(server.stop)


if __name__ == "__main__":
    run_service(SERVICE, TelemetryArchiverSettings, start)
