"""TrainingService: starts and watches runs, and co-signs models that passed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import TargetFile

from fleetloop.domain.artifacts import REPORT
from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.refusal import FailedPreconditionError, InvalidArgumentError, NotFoundError
from fleetloop.kit.rpc import RpcServer, caller, request_key
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.idempotency import answer_once
from fleetloop.kit.storage.objects import ObjectMissingError, Objects
from fleetloop.kit.storage.paging import page_of
from fleetloop.protos.training.v1 import training_pb2, training_pb2_grpc
from training_orchestrator import queries, transactions
from training_orchestrator.codec import STATES, run_message
from training_orchestrator.core import Start
from training_orchestrator.jobs import TorchrunJobs, read_progress
from training_orchestrator.model import Policy

SERVICE_NAME = "fleet.training.v1.TrainingService"
_POLL_S = 0.5
_MOST_REPORT_BYTES = 3_145_728


class TrainingService(training_pb2_grpc.TrainingServiceServicer):
    """See protos/fleet/training/v1/training.proto for what each call promises."""

    def __init__(
        self,
        database: Database,
        jobs: TorchrunJobs,
        policies: Mapping[str, Policy],
        signer: CryptoSigner,
        first_seed: int,
        clock: Clock,
        stopping: asyncio.Event,
        recipes: Callable[[], Sequence[str]],
        objects: Objects,
    ) -> None:
        """`recipes` returns the names of the recipes that exist; a run may be started with no other."""
        self._recipes = recipes
        self._objects = objects
        self._database = database
        self._jobs = jobs
        self._policies = policies
        self._signer = signer
        self._first_seed = first_seed
        self._clock = clock
        self._stopping = stopping

    async def StartRun(self, request: training_pb2.StartRunRequest, context: object) -> training_pb2.StartRunResponse:
        now_ns = self._clock.now_utc_ns()
        key = request_key(request.request_id)
        answer = await self._database.run(
            lambda tx: answer_once(
                tx, key, "StartRun", now_ns, lambda: self._start(tx, request, now_ns).SerializeToString()
            )
        )
        return training_pb2.StartRunResponse.FromString(answer)

    def _start(
        self, tx: Transaction, request: training_pb2.StartRunRequest, now_ns: int
    ) -> training_pb2.StartRunResponse:
        policy = self._policies.get(request.dataset)
        if policy is None:
            raise InvalidArgumentError(f"config/training.yaml has {', '.join(sorted(self._policies))}", "dataset")
        choices = self._recipes()
        if request.recipe and request.recipe not in choices:
            raise InvalidArgumentError(f"there is no such recipe; config/recipes has {', '.join(choices)}", "recipe")
        version = queries.newest_version(tx, request.dataset, request.dataset_version)
        test_set = queries.newest_version(tx, policy.test_set)
        if version is None:
            remedy = "DatasetService.ListVersions has them all"
            raise InvalidArgumentError("no such version", "dataset_version", remedy)
        if not version.samples:
            raise FailedPreconditionError(f"{version.version} has no samples: all were retracted", "dataset_version")
        if test_set is None or not test_set.frozen:
            raise FailedPreconditionError(f"import the frozen test set {policy.test_set} first", "dataset")
        situation = queries.situation(tx, policy)
        if situation.run_is_open:
            raise FailedPreconditionError("a run of this dataset is under way", "dataset")
        recipe = request.recipe or (policy.recipe if situation.parent_digest else policy.first_recipe)
        start = Start(
            version,
            test_set,
            recipe,
            situation.parent_digest,
            f"by {caller()}: {request.reason}",
            str(caller()),
        )
        run = transactions.queue_run(tx, start, self._first_seed, now_ns, request.seed or None)
        return training_pb2.StartRunResponse(run=run_message(run))

    async def ListRuns(self, request: training_pb2.ListRunsRequest, context: object) -> training_pb2.ListRunsResponse:
        page = page_of(request.page_size, request.page_token)
        found, more = await self._database.read(lambda tx: queries.runs(tx, page))
        return training_pb2.ListRunsResponse(runs=map(run_message, found), next_page_token=more)

    async def GetReport(
        self, request: training_pb2.GetReportRequest, context: object
    ) -> training_pb2.GetReportResponse:
        run = await self._database.read(lambda tx: queries.find_run(tx, request.run_id))
        if run is None:
            raise NotFoundError("no such run", "run_id", "ListRuns has them all")
        if not run.artifact_address:
            raise NotFoundError("the run has no model that could have been examined", "run_id")
        try:
            content = await asyncio.to_thread(self._objects.get, f"{run.artifact_address}/{REPORT}")
        except ObjectMissingError as error:
            raise NotFoundError("its job wrote no page", "run_id", "evaluation_address has the figures") from error
        if len(content) > _MOST_REPORT_BYTES:
            raise FailedPreconditionError(f"the page has {len(content)} bytes", "run_id", "read it in the store")
        return training_pb2.GetReportResponse(html=content)

    async def WatchRun(
        self, request: training_pb2.WatchRunRequest, context: object
    ) -> AsyncIterator[training_pb2.WatchRunResponse]:
        position = 0
        while not self._stopping.is_set():
            run = await self._database.read(lambda tx: queries.find_run(tx, request.run_id))
            if run is None:
                raise NotFoundError("no such run", "run_id", "ListRuns has them all")
            folder = self._jobs.folder(run.run_id)
            lines, position = await asyncio.to_thread(read_progress, folder, position)
            for line in lines:
                yield training_pb2.WatchRunResponse(
                    stage=str(line.get("stage", "")),
                    step=int(line.get("step", 0)),
                    steps=int(line.get("steps", 0)),
                    loss=float(line.get("loss", 0.0)),
                    state=STATES[run.state],
                    message=str(line.get("message", "")),
                )
            if run.state.is_final:
                yield training_pb2.WatchRunResponse(state=STATES[run.state], message="; ".join(run.reasons))
                return
            await pause(self._stopping, _POLL_S)

    async def SignModels(
        self, request: training_pb2.SignModelsRequest, context: object
    ) -> training_pb2.SignModelsResponse:
        targets = _targets_of(request.signed)
        await self._database.read(lambda tx: _check_targets(tx, targets))
        signature = self._signer.sign(request.signed)
        return training_pb2.SignModelsResponse(key_id=signature.keyid, signature=bytes.fromhex(signature.signature))


def _targets_of(signed: bytes) -> dict[str, TargetFile]:
    """The targets of a role's canonical JSON. Raises InvalidArgumentError when it is no such role."""
    try:
        content = json.loads(signed)
        if content["_type"] != "targets" or content.get("delegations"):
            raise ValueError("give a targets role without delegations")
        return {path: TargetFile.from_dict(entry, path) for path, entry in content["targets"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidArgumentError(f"not the signed part of a targets role: {error}", "signed") from error


def _check_targets(tx: Transaction, targets: Mapping[str, TargetFile]) -> None:
    """Raises FailedPreconditionError unless every target is, byte for byte, a file of a model that passed here."""
    for path, target in targets.items():
        kind, _, rest = path.partition("/")
        digest, _, name = rest.partition("/")
        files = queries.passed_files(tx, digest) if kind == "models" else None
        if files is None:
            raise FailedPreconditionError(f"{digest or path} did not pass here", "signed")
        if files.get(name) != (target.length, target.hashes.get("sha256")):
            raise FailedPreconditionError(f"{path} is not the file that passed the examination", "signed")


def add_to(server: RpcServer, service: TrainingService) -> None:
    """Serve the calls of `service`."""
    training_pb2_grpc.add_TrainingServiceServicer_to_server(service, server.server)
