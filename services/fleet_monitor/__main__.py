"""The composition root of fleet_monitor. The Faust app runs inside our own lifecycle, in one event loop."""

from __future__ import annotations

import asyncio
from collections import Counter

from fleet_monitor import metrics
from fleet_monitor.core import Selection, compare
from fleet_monitor.rpc import SERVICE_NAME, MonitorService
from fleet_monitor.settings import FleetMonitorSettings
from fleet_monitor.stream import SERVICE, FleetRecords, build_monitor
from fleetloop.domain.access import load_access
from fleetloop.kit.messaging.faust_app import run_app
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.rpc import RpcServer
from fleetloop.protos.health.v1 import health_pb2
from fleetloop.protos.monitor.v1 import monitor_pb2_grpc

_MEASURE_EVERY_S = 5.0
_COHORTS = {
    health_pb2.COHORT_CONTROL: "control",
    health_pb2.COHORT_SHADOW: "shadow",
    health_pb2.COHORT_CANARY: "canary",
}


async def start(runtime: Runtime, settings: FleetMonitorSettings) -> None:
    """Creates the parts of the monitor and registers them with the runtime."""
    clock = SystemClock()
    publisher = KafkaPublisher(runtime.service, settings)
    await publisher.start()
    runtime.on_stop(publisher.stop)
    app, records = build_monitor(settings, publisher, clock)
    runtime.spawn("faust", run_app(app, runtime, settings, clock))
    runtime.spawn("measure", _measure(runtime.stopping, records))
    server = RpcServer(runtime.service, settings, load_access(settings.config_dir))
    monitor_pb2_grpc.add_MonitorServiceServicer_to_server(MonitorService(records), server.server)
    await server.start([SERVICE_NAME])
    runtime.on_stop(server.stop)


async def _measure(stopping: asyncio.Event, records: FleetRecords) -> None:
    while not stopping.is_set():
        if records.is_whole():
            measure(records)
        await pause(stopping, _MEASURE_EVERY_S)


def measure(records: FleetRecords) -> None:
    """Sets the gauges from the records of the table."""
    for gauge in (
        metrics.AUTOPILOT_METERS,
        metrics.INTERVENTIONS,
        metrics.INFERENCES,
        metrics.INFERENCE_P99_SECONDS,
        metrics.VEHICLES,
    ):
        gauge.clear()
    for where, (sums, _) in compare(records.all(), Selection()).items():
        labels = (where.model_digest[:12], _COHORTS.get(health_pb2.Cohort.ValueType(where.cohort), "none"))
        metrics.AUTOPILOT_METERS.labels(*labels).inc(1000 * sums.autopilot_km)
        metrics.INTERVENTIONS.labels(*labels).inc(sums.interventions)
        metrics.INFERENCES.labels(*labels).inc(sums.inferences)
        metrics.INFERENCE_P99_SECONDS.labels(*labels).set(sums.inference_p99_ms_max / 1000)
    driving = Counter(record.latest.model_digest[:12] for _, record in records.all() if record.latest)
    for model, count in driving.items():
        metrics.VEHICLES.labels(model).set(count)


if __name__ == "__main__":
    run_service(SERVICE, FleetMonitorSettings, start)
