"""The composition root of rollout_controller."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from fleetloop.domain.access import load_access
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.rpc import RpcServer, admissions_of, open_service_channel
from fleetloop.kit.security.signing import load_key
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.storage.wiring import open_storage, start_storage_tasks
from rollout_controller import transactions
from rollout_controller.metrics import SERVICE
from rollout_controller.peers import OrchestratorCosigner
from rollout_controller.publishing import Publisher
from rollout_controller.rpc import MODEL_SERVICE, ROLLOUT_SERVICE, ModelService, RolloutService, add_to
from rollout_controller.settings import RolloutControllerSettings, load_plan
from rollout_controller.store import Base
from rollout_controller.stream import effects
from rollout_controller.transactions.evidence import prune_evidence
from rollout_controller.worker import Worker

MIGRATIONS = Path(__file__).parent / "migrations"


async def start(runtime: Runtime, settings: RolloutControllerSettings) -> None:
    """Build the controller from its parts and start it."""
    clock = SystemClock()
    policy = load_access(settings.config_dir)
    plan = replace(load_plan(settings.config_dir / "rollout.yaml"), needs_approval=policy.second_person.releases)
    signer = load_key(settings.signing_key)
    orchestrator = open_service_channel("training-orchestrator", settings.training_orchestrator_address, settings)
    storage = await open_storage(runtime, settings, Base, MIGRATIONS)
    database, fleet_id = storage.database, settings.fleet_id
    publisher = Publisher(
        database,
        Objects(settings.objects_url, settings.fleet_id),
        signer,
        OrchestratorCosigner(orchestrator),
        settings.trust_dir,
        fleet_id,
        clock,
    )
    publisher.check_trust()
    prune_changes = partial(transactions.prune_changes, keep_s=settings.keep_changes_s)
    prunes = {
        "changes": prune_changes,
        "evidence": partial(prune_evidence, keep_s=settings.keep_evidence_s),
    }
    start_storage_tasks(runtime, settings, clock, storage, effects(fleet_id, plan, clock), prunes)
    worker = Worker(database, publisher, plan, fleet_id, clock, admissions_of(settings))
    runtime.spawn("worker", worker.run(runtime.stopping, settings.tick_s))
    server = RpcServer(runtime.service, settings, policy)
    models = ModelService(database, publisher, signer, settings.trust_dir, fleet_id, plan, clock, runtime.stopping)
    rollouts = RolloutService(database, fleet_id, plan, clock)
    add_to(server, models, rollouts)
    await server.start([MODEL_SERVICE, ROLLOUT_SERVICE])
    runtime.on_stop(server.stop)


if __name__ == "__main__":
    run_service(SERVICE, RolloutControllerSettings, start)
