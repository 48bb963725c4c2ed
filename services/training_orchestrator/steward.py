"""Looks after runs: starts what is due, adopts what is running, takes in results, starts again what died.

Every look reads the database and the run's folder and does one next thing; it can be killed between any two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from fleetloop.domain.artifacts import VEHICLE_FILES, artifact_digest, sha256_hex
from fleetloop.kit.process.clock import Clock, ns_to_seconds
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import STAGE_SECONDS
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.objects import ObjectMissingError, Objects, object_address
from fleetloop.protos.training.v1 import training_pb2
from training_orchestrator import transactions
from training_orchestrator.codec import ResultError, job_result
from training_orchestrator.core import Start, due, start_again
from training_orchestrator.jobs import TorchrunJobs
from training_orchestrator.metrics import OPEN_RUNS, RUNS
from training_orchestrator.model import JobResult, Policy, State
from training_orchestrator.settings import TrainingOrchestratorSettings

log = get_logger(__name__)


class Steward:
    """The one place that starts and ends runs."""

    def __init__(
        self,
        database: Database,
        objects: Objects,
        jobs: TorchrunJobs,
        policies: Mapping[str, Policy],
        settings: TrainingOrchestratorSettings,
        clock: Clock,
    ) -> None:
        self._database = database
        self._objects = objects
        self._jobs = jobs
        self._policies = policies
        self._settings = settings
        self._clock = clock

    async def run(self, stopping: asyncio.Event) -> None:
        """Runs until `stopping`. A running job is left running: it is adopted at the next start."""
        while not stopping.is_set():
            await self.tick()
            await pause(stopping, self._settings.tick_s)

    async def tick(self) -> None:
        """One look at everything."""
        for policy in self._policies.values():
            if isinstance(await self._database.read(partial(self._due, policy=policy)), Start):
                await self._database.run(partial(self._queue_if_due, policy=policy))
        open_runs = await self._database.read(transactions.open_runs)
        OPEN_RUNS.set(len(open_runs))
        for run_id, state, attempts, run in open_runs:
            await self._look_after(run_id, state, attempts, run)

    def _due(self, tx: Transaction, policy: Policy) -> Start | str:
        return due(policy, transactions.situation(tx, policy), self._clock.now_utc_ns())

    def _queue_if_due(self, tx: Transaction, policy: Policy) -> None:
        start = self._due(tx, policy)
        if isinstance(start, Start):
            row = transactions.queue(tx, start, self._settings.seed, self._clock.now_utc_ns())
            log.info("run_queued", run_id=row.run_id, why=start.why, recipe=start.recipe)

    async def _look_after(self, run_id: str, state: State, attempts: int, run: training_pb2.RunChanged) -> None:
        now_ns = self._clock.now_utc_ns()
        status = await asyncio.to_thread(self._jobs.look, run_id, now_ns)
        if status.result is not None:
            await self._take_in(run_id, run, status.result)
        elif status.running:
            if state is State.QUEUED:  # started by a predecessor of this process that died before noting it
                await self._database.run(lambda tx: transactions.began(tx, run_id, now_ns))
            if status.beat_age_s > self._settings.heartbeat_stale_s:
                log.error("job_frozen", run_id=run_id, silent_s=status.beat_age_s)
                await asyncio.to_thread(self._jobs.end, run_id)
        elif await asyncio.to_thread(self._jobs.starting, run_id):
            return
        elif (policy := self._policies.get(run.dataset)) is None:
            await self._fail(run_id, f"config/training.yaml has no policy for {run.dataset} any more")
        elif start_again(attempts, policy):
            await self._launch(run_id, run, attempts)
        else:
            reason = f"the job died {attempts} times; its log is {self._jobs.folder(run_id) / 'job.log'}"
            await self._fail(run_id, reason)

    async def _launch(self, run_id: str, run: training_pb2.RunChanged, attempts: int) -> None:
        request = await self._database.read(lambda tx: transactions.job_request(tx, run))
        config = self._settings.config_dir.resolve()
        request |= {
            "recipe": str(config / "recipes" / run.recipe),
            "schema": str(config / "tasks.yaml"),
            "parent": await asyncio.to_thread(self._fetch_parent, run_id, request["parent"]),
        }
        await self._database.run(lambda tx: transactions.began(tx, run_id, self._clock.now_utc_ns()))
        await asyncio.to_thread(self._jobs.launch, run_id, request)
        log.info("job_started", run_id=run_id, attempt=attempts + 1)

    def _fetch_parent(self, run_id: str, parent: object) -> str | None:
        """Puts the parent's artifacts into the run's folder; the job reads files, not object stores."""
        if not isinstance(parent, dict):
            return None
        folder = self._jobs.folder(run_id) / "parent"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("model.safetensors", *VEHICLE_FILES):
            with suppress(ObjectMissingError):
                (folder / name).write_bytes(self._objects.get(f"{parent['address']}/{name}"))
        return str(folder)

    async def _take_in(self, run_id: str, run: training_pb2.RunChanged, raw: Mapping[str, object]) -> None:
        if raw.get("error"):
            await self._fail(run_id, str(raw["error"]))
            return
        try:
            result = job_result(raw)
            addresses, files = await asyncio.to_thread(self._store, run_id, result)
        except (ResultError, OSError) as error:
            await self._fail(run_id, f"the job's result cannot be used: {error}")
            return
        now_ns = self._clock.now_utc_ns()
        await self._database.run(lambda tx: transactions.evaluated(tx, run_id, result, *addresses, files, now_ns))
        verdict = "passed" if result.passed else "rejected"
        RUNS.labels(verdict).inc()
        STAGE_SECONDS.labels(transactions.SERVICE, "train").observe(ns_to_seconds(now_ns - run.changed_at_utc_ns))
        log.info("run_evaluated", run_id=run_id, verdict=verdict, reasons=list(result.reasons))

    def _store(self, run_id: str, result: JobResult) -> tuple[tuple[str, str], dict[str, tuple[int, str]]]:
        """Puts a run's files into the object store; raises ResultError when they are not what the result says."""
        folder = self._jobs.folder(run_id)
        contents = {name: (folder / path).read_bytes() for name, path in result.files.items()}
        files = {name: (len(content), sha256_hex(content)) for name, content in contents.items()}
        missing = [name for name in VEHICLE_FILES if name not in files]
        if missing:
            raise ResultError(f"files: {', '.join(missing)} is missing")
        if artifact_digest({name: sha for name, (_, sha) in files.items()}) != result.model_digest:
            raise ResultError("model_digest: is not the digest of the files")
        result_file = folder / "result.json"
        day_ns = result_file.stat().st_mtime_ns  # the same at a redo
        artifact_address = object_address(self._settings.fleet_id, "models", day_ns, result.model_digest)
        for name, content in contents.items():
            self._objects.put_once(f"{artifact_address}/{name}", content)
        evaluation_address = object_address(self._settings.fleet_id, "evaluations", day_ns, f"{run_id}.json")
        self._objects.put_once(evaluation_address, result_file.read_bytes())
        return (artifact_address, evaluation_address), files

    async def _fail(self, run_id: str, reason: str) -> None:
        RUNS.labels("failed").inc()
        log.error("run_failed", run_id=run_id, reason=reason)
        await self._database.run(lambda tx: transactions.failed(tx, run_id, reason, self._clock.now_utc_ns()))


def job_folder_root(state_dir: Path) -> Path:
    """Where runs lie below a service's state."""
    return state_dir / "runs"
