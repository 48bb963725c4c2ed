"""The composition root of label_desk."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.process.clock import Clock, SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.security.identity import AllowList
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.storage.wiring import open_storage, start_storage_tasks
from fleetloop.protos.label.v1 import label_pb2_grpc
from label_desk import hindsight, transactions
from label_desk.metrics import OLDEST_TASK_SECONDS, OPEN_TASKS
from label_desk.rpc import ALLOWED, CONSOLE, SERVICE_NAME, LabelService, progress
from label_desk.settings import LabelDeskSettings
from label_desk.store import Base
from label_desk.stream import EFFECTS

MIGRATIONS = Path(__file__).parent / "migrations"
_TICK_S = 1.0


async def start(runtime: Runtime, settings: LabelDeskSettings) -> None:
    """Wires the desk together."""
    clock = SystemClock()
    schema = load_task_schema(settings.config_dir / "tasks.yaml")
    objects = Objects(settings.objects_url)
    storage = await open_storage(runtime, settings, Base, MIGRATIONS)
    forget = partial(transactions.forget_ended, keep_s=settings.keep_ended_s)
    start_storage_tasks(runtime, settings, clock, storage, EFFECTS, {"tasks": forget})
    runtime.spawn("settle", _settle(runtime.stopping, storage.database, clock, settings))
    runtime.spawn(
        "hindsight",
        hindsight.run(runtime.stopping, storage.database, objects, schema, clock, settings.automatic_bound),
    )
    server = RpcServer(runtime.service, settings, AllowList(settings.fleet_id, ALLOWED), speakers=(CONSOLE,))
    service = LabelService(storage.database, objects, schema, clock, settings)
    label_pb2_grpc.add_LabelServiceServicer_to_server(service, server.server)
    await server.start([SERVICE_NAME])
    runtime.on_stop(server.stop)


async def _settle(stopping: asyncio.Event, database: Database, clock: Clock, settings: LabelDeskSettings) -> None:
    """Ends tasks whose undo window is over and keeps the gauges."""

    def look(tx: Transaction) -> bool:
        now_ns = clock.now_utc_ns()
        for project in progress(tx, now_ns).projects:
            OPEN_TASKS.labels(project.project).set(project.open)
            OLDEST_TASK_SECONDS.labels(project.project).set(project.oldest_open_s)

        return transactions.has_to_settle(tx, now_ns)

    while not stopping.is_set():
        while await database.read(look):
            await database.run(lambda tx: transactions.settle(tx, clock.now_utc_ns(), settings.automatic_bound))
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _TICK_S)


if __name__ == "__main__":
    run_service(transactions.SERVICE, LabelDeskSettings, start)
