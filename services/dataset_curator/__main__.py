"""The composition root of dataset_curator."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from dataset_curator import transactions
from dataset_curator.committing import Committer
from dataset_curator.rpc import SERVICE_NAME, DatasetService, add_to
from dataset_curator.settings import DatasetCuratorSettings, load_curation
from dataset_curator.store import Base
from dataset_curator.stream import effects
from dataset_curator.tables import DatasetTables
from dataset_curator.transactions import SERVICE
from dataset_curator.worker import Worker
from fleetloop.domain.access import load_access
from fleetloop.domain.clips.limits import clip_limits
from fleetloop.domain.clips.stored import StoredClips
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.trunk import load_trunk
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.storage.wiring import open_storage, start_storage_tasks

MIGRATIONS = Path(__file__).parent / "migrations"


async def start(runtime: Runtime, settings: DatasetCuratorSettings) -> None:
    """Build the curator from its parts and start it."""
    clock = SystemClock()
    schema = load_task_schema(settings.config_dir / "tasks.yaml")
    curation = load_curation(settings.config_dir / "curation.yaml")
    trunk = await asyncio.to_thread(load_trunk)
    tables = DatasetTables(settings.tables_url or f"{settings.objects_url}/{settings.fleet_id}/datasets")
    storage = await open_storage(runtime, settings, Base, MIGRATIONS)
    objects = Objects(settings.objects_url, settings.fleet_id)
    clips = StoredClips(objects, clip_limits(schema, settings.clip_unpacked_bytes))
    runtime.on_stop(partial(asyncio.to_thread, clips.close))
    committer = Committer(storage.database, tables, objects, clips, schema, trunk, curation, settings.fleet_id, clock)
    prunings = {"proposals": transactions.prune_proposals}
    start_storage_tasks(runtime, settings, clock, storage, effects(clock), prunings)
    runtime.spawn("worker", Worker(storage.database, committer).run(runtime.stopping, settings.tick_s))
    policy = load_access(settings.config_dir)
    server = RpcServer(runtime.service, settings, policy)
    imports = Objects(settings.objects_url)  # a person who may import names the address
    second_person = policy.second_person.test_sets
    service = DatasetService(storage.database, tables, committer, imports, schema, trunk, clock, second_person)
    add_to(server, service)
    await server.start([SERVICE_NAME])
    runtime.on_stop(server.stop)


if __name__ == "__main__":
    run_service(SERVICE, DatasetCuratorSettings, start)
