"""The composition root of training_orchestrator."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from fleetloop.domain.access import load_access
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.lifecycle import Runtime, run_service
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.security.signing import load_key
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.storage.wiring import open_storage, start_storage_tasks
from training_orchestrator.jobs import TorchrunJobs, job_environment, job_folder_root
from training_orchestrator.rpc import SERVICE_NAME, TrainingService, add_to
from training_orchestrator.settings import TrainingOrchestratorSettings, load_policies, recipes_in
from training_orchestrator.store import Base
from training_orchestrator.stream import EFFECTS
from training_orchestrator.transactions import SERVICE
from training_orchestrator.worker import Worker

MIGRATIONS = Path(__file__).parent / "migrations"


async def start(runtime: Runtime, settings: TrainingOrchestratorSettings) -> None:
    """Build the orchestrator from its parts and start it."""
    clock = SystemClock()
    policies = load_policies(settings.config_dir / "training.yaml")
    signer = load_key(settings.signing_key)
    jobs = TorchrunJobs(
        job_folder_root(settings.state_dir.resolve()), settings.job_module, settings.nice, job_environment(os.environ)
    )
    storage = await open_storage(runtime, settings, Base, MIGRATIONS)
    start_storage_tasks(runtime, settings, clock, storage, EFFECTS)
    objects = Objects(settings.objects_url, settings.fleet_id)
    worker = Worker(storage.database, objects, jobs, policies, settings, clock)
    runtime.spawn("worker", worker.run(runtime.stopping))
    server = RpcServer(runtime.service, settings, load_access(settings.config_dir))
    service = TrainingService(
        storage.database, jobs, policies, signer, settings.seed, clock, runtime.stopping,
        partial(recipes_in, settings.config_dir), objects,
    )  # fmt: skip
    add_to(server, service)
    await server.start([SERVICE_NAME])
    runtime.on_stop(server.stop)


if __name__ == "__main__":
    run_service(SERVICE, TrainingOrchestratorSettings, start)
