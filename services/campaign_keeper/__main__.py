"""The composition root of campaign_keeper."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from campaign_keeper.examination import examiner
from campaign_keeper.peers import RouterDrops
from campaign_keeper.rpc import SERVICE_NAME, CampaignService, add_to
from campaign_keeper.settings import CampaignKeeperSettings
from campaign_keeper.store import Base
from campaign_keeper.stream import effects
from campaign_keeper.transactions.ledger import prune_early, prune_firings
from campaign_keeper.worker import Worker
from fleetloop.domain.access import load_access
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.rpc import RpcServer, open_service_channel
from fleetloop.kit.storage.wiring import open_storage, start_storage_tasks

SERVICE = "campaign-keeper"
MIGRATIONS = Path(__file__).parent / "migrations"


async def start(runtime: Runtime, settings: CampaignKeeperSettings) -> None:
    """Build the keeper from its parts and start it."""
    clock = SystemClock()
    examine = examiner(
        load_catalogue(settings.config_dir / "signals.yaml"),
        load_task_schema(settings.config_dir / "tasks.yaml"),
        settings.trigger_memory_s,
    )
    storage = await open_storage(runtime, settings, Base, MIGRATIONS)
    router = None
    if settings.label_router_address:
        router = open_service_channel("label-router", settings.label_router_address, settings)
        runtime.on_stop(lambda: router.close())
    drops = RouterDrops(router)
    worker = Worker(storage.database, drops)
    await worker.restore_gauges()
    prunings = {
        "firings": partial(prune_firings, keep_s=settings.keep_firings_s),
        "early": partial(prune_early, keep_s=settings.keep_firings_s),
    }
    start_storage_tasks(runtime, settings, clock, storage, effects(clock), prunings)
    runtime.spawn("worker", worker.run(runtime.stopping))
    policy = load_access(settings.config_dir)
    server = RpcServer(runtime.service, settings, policy)
    service = CampaignService(storage.database, clock, examine, drops, policy.second_person.campaigns)
    add_to(server, service)
    await server.start([SERVICE_NAME])
    runtime.on_stop(server.stop)


if __name__ == "__main__":
    run_service(SERVICE, CampaignKeeperSettings, start)
