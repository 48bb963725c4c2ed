"""The composition root of trigger_detector."""

from __future__ import annotations

import os
import socket
import sys

from fleetloop.domain.access import load_access
from fleetloop.domain.signals import load_catalogue
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.rpc import RpcServer, open_service_channel
from fleetloop.protos.detect.v1 import detect_pb2_grpc
from trigger_detector.reporting import report
from trigger_detector.rpc import SERVICE_NAME, DetectorService
from trigger_detector.settings import TriggerDetectorSettings
from trigger_detector.stream import SERVICE, DetectorStream


async def start(runtime: Runtime, settings: TriggerDetectorSettings) -> None:
    """Builds the detector's parts, connects them and starts them."""
    catalogue = load_catalogue(settings.config_dir / "signals.yaml")
    publisher = KafkaPublisher(SERVICE, settings)
    await publisher.start()
    runtime.on_stop(publisher.stop)
    clock = SystemClock()
    stream = DetectorStream(settings, catalogue, publisher, clock)
    runtime.http.add_liveness("consumer", stream.problem)
    runtime.http.add_readiness("consumer", lambda: None if stream.ready.is_set() else "no partitions assigned yet")
    runtime.spawn("detect", stream.run(runtime.stopping))
    if settings.campaign_keeper_address:
        keeper = open_service_channel("campaign-keeper", settings.campaign_keeper_address, settings)
        runtime.on_stop(lambda: keeper.close())
        reporter = f"{settings.instance_id or os.getpid()}@{socket.gethostname()}"
        runtime.spawn("report", report(runtime.stopping, stream, keeper, reporter, clock))
    server = RpcServer(runtime.service, settings, load_access(settings.config_dir))
    detect_pb2_grpc.add_DetectorServiceServicer_to_server(DetectorService(stream), server.server)
    await server.start([SERVICE_NAME])
    runtime.on_stop(server.stop)


if __name__ == "__main__":
    # The thread that evaluates needs the interpreter only briefly between two compiled loops. With the default
    # interval of 5 ms it would wait for the thread that fetches longer than it computes.
    sys.setswitchinterval(0.0005)
    run_service(SERVICE, TriggerDetectorSettings, start)
