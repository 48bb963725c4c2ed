"""What the orchestrator does periodically: it starts runs that are due, adopts running jobs, and stores results.

Each turn reads the database and each run's folder and does one next step per run. The process may die between any two
steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from fleetloop.domain.artifacts import (
    VEHICLE_FILES,
    WEIGHTS,
    ArtifactsChangedError,
    artifact_digest,
    check_artifacts,
    sha256_hex,
)
from fleetloop.domain.run_folder import LOG, RESULT, RunFailure, RunFolderError, RunRequest, RunResult, read_files
from fleetloop.kit.process.atomic_file import replace_bytes
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.storage.addresses import is_own_table
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.objects import ForeignAddressError, ObjectMissingError, Objects, object_address
from training_orchestrator import queries, transactions
from training_orchestrator.core import Start, due, start_again
from training_orchestrator.jobs import TorchrunJobs
from training_orchestrator.metrics import OPEN_RUNS, RUNS
from training_orchestrator.model import JobInputs, OpenRun, Policy, Run, State
from training_orchestrator.settings import TrainingOrchestratorSettings

log = get_logger(__name__)


class Worker:
    """The only place that starts and ends jobs."""

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
        """Work until `stopping`. A running job goes on, and the next start of the service adopts it."""
        while not stopping.is_set():
            await self.run_once()
            await pause(stopping, self._settings.tick_s)

    async def run_once(self) -> None:
        """Queue the runs that are due, and do the next step of every open run."""
        for policy in self._policies.values():
            if isinstance(await self._database.read(partial(self._due, policy=policy)), Start):
                await self._database.run(partial(self._queue_if_due, policy=policy))
        open_runs = await self._database.read(queries.open_runs)
        OPEN_RUNS.set(len(open_runs))
        for each in open_runs:
            await self._next_step(each)

    def _due(self, tx: Transaction, policy: Policy) -> Start | str:
        return due(policy, queries.situation(tx, policy), self._clock.now_utc_ns())

    def _queue_if_due(self, tx: Transaction, policy: Policy) -> None:
        start = self._due(tx, policy)
        if isinstance(start, Start):
            run = transactions.queue_run(tx, start, self._settings.seed, self._clock.now_utc_ns())
            log.info("run_queued", run_id=run.run_id, why=start.why, recipe=start.recipe)

    async def _next_step(self, open_run: OpenRun) -> None:
        run, attempts, now_ns = open_run.run, open_run.attempts, self._clock.now_utc_ns()
        run_id = run.run_id
        status = await asyncio.to_thread(self._jobs.status, run_id, now_ns)
        if status.result is not None:
            await self._store_result(run, status.result)
        elif status.running:
            if run.state is State.QUEUED:  # started by an earlier process that died before it recorded the start
                await self._database.run(lambda tx: transactions.record_start(tx, run_id, now_ns))
            if status.beat_age_s > self._settings.heartbeat_stale_s:
                log.error("job_without_heartbeat", run_id=run_id, age_s=status.beat_age_s)
                await asyncio.to_thread(self._jobs.end, run_id)
        elif await asyncio.to_thread(self._jobs.starting, run_id):
            return
        elif (policy := self._policies.get(run.dataset)) is None:
            await self._fail(run_id, f"config/training.yaml no longer has a policy for {run.dataset}")
        elif start_again(attempts, policy):
            await self._launch(run, attempts)
        else:
            reason = f"the job died {attempts} times; its log is {self._jobs.folder(run_id) / LOG}"
            await self._fail(run_id, reason)

    async def _launch(self, run: Run, attempts: int) -> None:
        run_id = run.run_id
        inputs = await self._database.read(lambda tx: queries.job_inputs(tx, run))
        root = self._settings.tables_url or f"{self._settings.objects_url}/{self._settings.fleet_id}/datasets"
        for dataset, version in ((run.dataset, inputs.dataset), (run.test_set, inputs.test_set)):
            if not is_own_table(root, dataset, version.table):
                reason = f"table_address: {version.table[:200]!r} is not the table of {dataset} in {root}"
                await self._fail(run_id, reason)
                return
        try:
            parent = await asyncio.to_thread(self._fetch_parent, run, inputs)
        except (ForeignAddressError, ArtifactsChangedError) as error:
            await self._fail(run_id, f"the files of the parent {run.parent_digest} cannot be used: {error}")
            return
        except ObjectMissingError as error:
            # Without its parent the job would train and compare something else. It waits until the file is restored.
            log.error("parent_missing", run_id=run_id, error=str(error))
            return
        config = self._settings.config_dir.resolve()
        request = RunRequest(
            run_id=run_id,
            recipe=config / "recipes" / run.recipe,
            schema_path=config / "tasks.yaml",
            seed=run.seed,
            dataset=inputs.dataset,
            test_set=inputs.test_set,
            parent=parent,
            examination=_if_there(config / "examination.yaml"),
            vehicle=_if_there(config / "vehicle.yaml"),
        )
        await self._database.run(lambda tx: transactions.record_start(tx, run_id, self._clock.now_utc_ns()))
        await asyncio.to_thread(self._jobs.launch, run_id, request)
        log.info("job_started", run_id=run_id, attempt=attempts + 1)

    def _fetch_parent(self, run: Run, inputs: JobInputs) -> Path | None:
        """Copy the parent's artifacts into the run's folder: the job reads files, not an object store.

        Raises ObjectMissingError when one of them is missing, and ArtifactsChangedError when they are not the
        parent's: a run must not start from, or compare with, what somebody put in their place.
        """
        if not inputs.parent_address:
            return None
        contents = {name: self._objects.get(f"{inputs.parent_address}/{name}") for name in (WEIGHTS, *VEHICLE_FILES)}
        check_artifacts(run.parent_digest, contents, inputs.parent_weights_sha256)
        folder = self._jobs.folder(run.run_id) / "parent"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            replace_bytes(folder / name, content)
        return folder

    async def _store_result(self, run: Run, result: RunResult | RunFailure) -> None:
        run_id = run.run_id
        if isinstance(result, RunFailure):
            await self._fail(run_id, result.error)
            return
        try:
            addresses, files = await asyncio.to_thread(self._store_files, run_id, result)
        except RunFolderError as error:  # a failure of a disk or a store is no fault of the run, and is retried
            await self._fail(run_id, f"the job's result cannot be used: {error}")
            return
        now_ns = self._clock.now_utc_ns()
        await self._database.run(
            lambda tx: transactions.record_evaluation(tx, run_id, result, *addresses, files, now_ns)
        )
        verdict = "passed" if result.passed else "rejected"
        RUNS.labels(verdict).inc()
        log.info("run_evaluated", run_id=run_id, verdict=verdict, reasons=list(result.reasons))

    def _store_files(self, run_id: str, result: RunResult) -> tuple[tuple[str, str], dict[str, tuple[int, str]]]:
        """Copy a run's files to the object store; return the addresses of artifacts and evaluation, and the files.

        Raises RunFolderError when the files are not those that the result names.
        """
        folder = self._jobs.folder(run_id)
        contents = read_files(folder, result)
        files = {name: (len(content), sha256_hex(content)) for name, content in contents.items()}
        missing = [name for name in VEHICLE_FILES if name not in files]
        if missing:
            raise RunFolderError(f"{RESULT}: files: {', '.join(missing)} is missing")
        if artifact_digest({name: sha for name, (_, sha) in files.items()}) != result.model_digest:
            raise RunFolderError(f"{RESULT}: model_digest: is not the digest of the files")
        result_file = folder / RESULT
        day_ns = result_file.stat().st_mtime_ns  # a redo finds the same time, and so the same address
        artifact_address = object_address(self._settings.fleet_id, "models", day_ns, result.model_digest)
        for name, content in contents.items():
            self._objects.put_once(f"{artifact_address}/{name}", content)
        evaluation_address = object_address(self._settings.fleet_id, "evaluations", day_ns, f"{run_id}.json")
        self._objects.put_once(evaluation_address, result_file.read_bytes())
        return (artifact_address, evaluation_address), files

    async def _fail(self, run_id: str, reason: str) -> None:
        RUNS.labels("failed").inc()
        log.error("run_failed", run_id=run_id, reason=reason)
        await self._database.run(lambda tx: transactions.fail_run(tx, run_id, reason, self._clock.now_utc_ns()))


def _if_there(path: Path) -> Path | None:
    """The file; None where a configuration of before has none, so that the job's own values hold."""
    return path if path.exists() else None
