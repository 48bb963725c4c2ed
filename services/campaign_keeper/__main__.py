"""The composition root of campaign_keeper."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from campaign_keeper import upkeep
from campaign_keeper.drops import RouterDrops
from campaign_keeper.examination import examiner
from campaign_keeper.ledger import forget_early, forget_firings, restore_metrics
from campaign_keeper.rpc import ALLOWED, SERVICE_NAME, CampaignService
from campaign_keeper.settings import CampaignKeeperSettings
from campaign_keeper.store import Base
from campaign_keeper.stream import effects
from fleetloop.domain.signals import load_catalogue
from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.rpc import RpcServer, open_service_channel
from fleetloop.kit.security.identity import AllowList
from fleetloop.kit.storage.wiring import open_storage, start_storage_tasks
from fleetloop.protos.campaign.v1 import campaign_pb2_grpc

SERVICE = "campaign-keeper"
MIGRATIONS = Path(__file__).parent / "migrations"


async def start(runtime: Runtime, settings: CampaignKeeperSettings) -> None:
    """Wires the keeper together."""
    clock = SystemClock()
    examine = examiner(
        load_catalogue(settings.config_dir / "signals.yaml"),
        load_task_schema(settings.config_dir / "tasks.yaml"),
        settings.trigger_memory_s,
    )
    storage = await open_storage(runtime, settings, Base, MIGRATIONS)
    await storage.database.run(restore_metrics)
    prunings = {
        "firings": partial(forget_firings, keep_s=settings.keep_firings_s),
        "early": partial(forget_early, keep_s=settings.keep_firings_s),
    }
    start_storage_tasks(runtime, settings, clock, storage, effects(clock), prunings)
    router = None
    if settings.label_router_address:
        router = open_service_channel(settings.label_router_address, settings)
        runtime.on_stop(lambda: router.close())
    drops = RouterDrops(router)
    runtime.spawn("show", upkeep.show(runtime.stopping, storage.database, drops))
    server = RpcServer(runtime.service, settings, AllowList(settings.fleet_id, ALLOWED))
    service = CampaignService(storage.database, clock, examine, drops)
    campaign_pb2_grpc.add_CampaignServiceServicer_to_server(service, server.server)
    await server.start([SERVICE_NAME])
    runtime.on_stop(server.stop)


if __name__ == "__main__":
    run_service(SERVICE, CampaignKeeperSettings, start)
