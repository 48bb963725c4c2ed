"""The composition root of label_desk."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from random import SystemRandom

from fleetloop.domain.access import load_access
from fleetloop.domain.clips.limits import clip_limits
from fleetloop.domain.clips.stored import StoredClips
from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.storage.wiring import open_storage, start_storage_tasks
from label_desk import transactions
from label_desk.core import CheckPolicy
from label_desk.rpc import SERVICE_NAME, LabelService, add_to
from label_desk.settings import LabelDeskSettings
from label_desk.store import Base
from label_desk.stream import EFFECTS
from label_desk.worker import Worker

MIGRATIONS = Path(__file__).parent / "migrations"


async def start(runtime: Runtime, settings: LabelDeskSettings) -> None:
    """Build the desk from its parts and start it."""
    clock = SystemClock()
    schema = load_task_schema(settings.config_dir / "tasks.yaml")
    limits = clip_limits(schema, settings.clip_unpacked_bytes)
    clips = StoredClips(Objects(settings.objects_url, settings.fleet_id), limits, settings.clip_cache_bytes)
    runtime.on_stop(partial(asyncio.to_thread, clips.close))
    storage = await open_storage(runtime, settings, Base, MIGRATIONS)
    prune_ended = partial(transactions.prune_ended, keep_s=settings.keep_ended_s)
    start_storage_tasks(runtime, settings, clock, storage, EFFECTS, {"tasks": prune_ended})
    checks = CheckPolicy(settings.audit_share, settings.least_agreement, settings.first_checks)
    worker = Worker(
        storage.database, clips, schema, clock, settings.automatic_bound, checks, SystemRandom(),
        settings.undo_window_s,
    )  # fmt: skip
    runtime.spawn("end decided tasks", worker.end_decided_tasks(runtime.stopping))
    runtime.spawn("agreement", worker.watch_agreement(runtime.stopping))
    runtime.spawn("hindsight", worker.vote_by_hindsight(runtime.stopping))
    server = RpcServer(runtime.service, settings, load_access(settings.config_dir))
    service = LabelService(storage.database, clips, schema, clock, settings)
    add_to(server, service)
    await server.start([SERVICE_NAME])
    runtime.on_stop(server.stop)


if __name__ == "__main__":
    run_service(transactions.SERVICE, LabelDeskSettings, start)
