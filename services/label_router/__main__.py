"""The composition root of label_router. The Faust app runs inside our own lifecycle, in one event loop."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from fleetloop.domain.access import load_access
from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.messaging.faust_app import run_app
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.storage.wiring import open_storage, start_storage_tasks
from label_router import transactions
from label_router.rpc import SERVICE_NAME, RouteService, add_to
from label_router.settings import LabelRouterSettings, load_routing
from label_router.store import Base
from label_router.stream import build_router
from label_router.worker import Worker

MIGRATIONS = Path(__file__).parent / "migrations"


async def start(runtime: Runtime, settings: LabelRouterSettings) -> None:
    """Build the router from its parts and start it."""
    clock = SystemClock()
    schema = load_task_schema(settings.config_dir / "tasks.yaml")
    routing = replace(
        load_routing(settings.config_dir / "routing.yaml"), task_schema_version=f"{schema.name}-{schema.version}"
    )
    storage = await open_storage(runtime, settings, Base, MIGRATIONS)
    prunings = {
        "firings": partial(transactions.prune_firings, keep_s=settings.keep_firings_s, routing=routing),
        "early_clips": partial(transactions.prune_early_clips, keep_s=settings.keep_early_clips_s),
    }
    start_storage_tasks(runtime, settings, clock, storage, {}, prunings)
    app = build_router(settings, routing, storage.database, storage.publisher, clock)
    runtime.spawn("faust", run_app(app, runtime, settings, clock))
    worker = Worker(storage.database, routing, clock)
    runtime.spawn("worker", worker.run(runtime.stopping, settings.tick_s))
    server = RpcServer(runtime.service, settings, load_access(settings.config_dir))
    add_to(server, RouteService(storage.database))
    await server.start([SERVICE_NAME])
    runtime.on_stop(server.stop)


if __name__ == "__main__":
    run_service(transactions.SERVICE, LabelRouterSettings, start)
