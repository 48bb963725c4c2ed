"""ModelService for vehicles and subscribers, RolloutService for operators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from securesystemslib.signer import CryptoSigner

from fleetloop.kit.process.clock import Clock
from fleetloop.kit.process.pausing import pause
from fleetloop.kit.refusal import InvalidArgumentError, NotFoundError, PermissionDeniedError
from fleetloop.kit.rpc import RpcServer, caller, request_key
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.idempotency import answer_once
from fleetloop.kit.storage.objects import ObjectMissingError
from fleetloop.kit.storage.paging import page_of
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc
from rollout_controller import queries, transactions
from rollout_controller.codec import change_message, rollout_message, stages_of
from rollout_controller.metadata import ASSIGNMENT, assignment_bytes, director_files
from rollout_controller.model import RolloutPlan, SignedAssignment
from rollout_controller.publishing import Publisher
from rollout_controller.transactions import assignments
from rollout_controller.transactions.approval import approve_release

MODEL_SERVICE = "fleet.rollout.v1.ModelService"
ROLLOUT_SERVICE = "fleet.rollout.v1.RolloutService"
_CHUNK_BYTES = 1024 * 1024
_POLL_S = 1.0


class ModelService(rollout_pb2_grpc.ModelServiceServicer):
    """See protos/fleet/rollout/v1/rollout.proto for what each call promises."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        signer: CryptoSigner,
        trust_dir: Path,
        fleet_id: str,
        plan: RolloutPlan,
        clock: Clock,
        stopping: asyncio.Event,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._signer = signer
        self._director_root = (trust_dir / "director" / "1.root.json").read_bytes()
        self._fleet_id = fleet_id
        self._plan = plan
        self._clock = clock
        self._stopping = stopping

    async def WatchModels(
        self, request: rollout_pb2.WatchModelsRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[rollout_pb2.WatchModelsResponse]:
        token, stages = request.resume_after, stages_of(request.stages)
        while not self._stopping.is_set():
            changes = await self._database.read(
                lambda tx, after=token: queries.changes_after(tx, after)  # type: ignore[misc]
            )
            for change in changes:
                token = change.sequence
                if not stages or change.stage in stages:
                    yield rollout_pb2.WatchModelsResponse(change=change_message(change))
            if not changes:
                await pause(self._stopping, _POLL_S)

    async def ListModels(
        self, request: rollout_pb2.ListModelsRequest, context: object
    ) -> rollout_pb2.ListModelsResponse:
        page = page_of(request.page_size, request.page_token)
        found, more = await self._database.read(lambda tx: queries.models(tx, page))
        return rollout_pb2.ListModelsResponse(models=map(change_message, found), next_page_token=more)

    async def FetchMetadata(
        self, request: rollout_pb2.FetchMetadataRequest, context: object
    ) -> rollout_pb2.FetchMetadataResponse:
        if request.repository == rollout_pb2.REPOSITORY_MODELS:
            if "/" in request.name:
                raise InvalidArgumentError("give a file name without folders", "name")
            try:
                return rollout_pb2.FetchMetadataResponse(
                    content=await asyncio.to_thread(self._publisher.read, request.name)
                )
            except ObjectMissingError as error:
                raise NotFoundError(str(error), "name") from error
        if request.repository == rollout_pb2.REPOSITORY_DIRECTOR:
            return rollout_pb2.FetchMetadataResponse(content=await self._director(request.name))
        raise InvalidArgumentError("name REPOSITORY_MODELS or REPOSITORY_DIRECTOR", "repository")

    async def _director(self, name: str) -> bytes:
        if name == "1.root.json":
            return self._director_root
        signed = await self._assignment_of_caller()
        files = director_files(
            caller().name, signed.assignment, signed.version, signed.signed_at_utc_ns, self._signer
        )
        if name not in files:
            raise NotFoundError(f"your director has {', '.join(sorted(files))}", "name")
        return files[name]

    async def _assignment_of_caller(self) -> SignedAssignment:
        """What the calling vehicle is assigned to run. Raises PermissionDeniedError when no vehicle calls."""
        if caller().kind != "vehicle":
            raise PermissionDeniedError("a director answers only its own vehicle", "repository")
        name, now_ns = caller().name, self._clock.now_utc_ns()
        return await self._database.run(
            lambda tx: assignments.director_assignment(tx, name, self._fleet_id, self._plan, now_ns)
        )

    async def FetchTarget(
        self, request: rollout_pb2.FetchTargetRequest, context: object
    ) -> AsyncIterator[rollout_pb2.FetchTargetResponse]:
        if request.repository == rollout_pb2.REPOSITORY_DIRECTOR:
            if request.path.rpartition(".")[0].rpartition(".")[2] + ".json" != ASSIGNMENT:
                raise NotFoundError(f"a director has only {ASSIGNMENT}", "path")
            signed = await self._assignment_of_caller()
            content = assignment_bytes(caller().name, signed.assignment, signed.version)
        else:
            if not request.path.startswith("models/") or ".." in request.path.split("/"):
                raise InvalidArgumentError("give models/<digest>/<sha256>.<file>", "path")
            try:
                content = await asyncio.to_thread(self._publisher.target, request.path)
            except ObjectMissingError as error:
                raise NotFoundError(str(error), "path") from error
        for begin in range(0, len(content), _CHUNK_BYTES):
            yield rollout_pb2.FetchTargetResponse(chunk=content[begin : begin + _CHUNK_BYTES])


class RolloutService(rollout_pb2_grpc.RolloutServiceServicer):
    """See protos/fleet/rollout/v1/rollout.proto for what each call promises."""

    def __init__(self, database: Database, fleet_id: str, plan: RolloutPlan, clock: Clock) -> None:
        self._database = database
        self._fleet_id = fleet_id
        self._plan = plan
        self._clock = clock

    async def ListRollouts(
        self, request: rollout_pb2.ListRolloutsRequest, context: object
    ) -> rollout_pb2.ListRolloutsResponse:
        now_ns = self._clock.now_utc_ns()
        found = await self._database.read(lambda tx: queries.rollouts(tx, self._plan, now_ns))
        return rollout_pb2.ListRolloutsResponse(rollouts=[rollout_message(each, self._plan) for each in found])

    async def RollBack(self, request: rollout_pb2.RollBackRequest, context: object) -> rollout_pb2.RollBackResponse:
        now_ns = self._clock.now_utc_ns()

        def work(tx: Transaction) -> bytes:
            rollout = transactions.roll_back(
                tx, request.rollout_id, f"by {caller()}: {request.reason}", self._fleet_id, self._plan, now_ns
            )
            status = queries.status_of(tx, rollout, self._plan, now_ns)
            return rollout_pb2.RollBackResponse(rollout=rollout_message(status, self._plan)).SerializeToString()

        key = request_key(request.request_id)
        answer = await self._database.run(lambda tx: answer_once(tx, key, "RollBack", now_ns, lambda: work(tx)))
        return rollout_pb2.RollBackResponse.FromString(answer)

    async def ApproveRelease(
        self, request: rollout_pb2.ApproveReleaseRequest, context: object
    ) -> rollout_pb2.ApproveReleaseResponse:
        now_ns = self._clock.now_utc_ns()

        def work(tx: Transaction) -> bytes:
            rollout = approve_release(tx, request.rollout_id, str(caller()), request.reason, self._plan)
            status = queries.status_of(tx, rollout, self._plan, now_ns)
            return rollout_pb2.ApproveReleaseResponse(rollout=rollout_message(status, self._plan)).SerializeToString()

        key = request_key(request.request_id)
        answer = await self._database.run(lambda tx: answer_once(tx, key, "ApproveRelease", now_ns, lambda: work(tx)))
        return rollout_pb2.ApproveReleaseResponse.FromString(answer)

    async def RetryRollout(
        self, request: rollout_pb2.RetryRolloutRequest, context: object
    ) -> rollout_pb2.RetryRolloutResponse:
        now_ns = self._clock.now_utc_ns()
        by = f"{caller()}: {request.reason}" if request.reason else str(caller())

        def work(tx: Transaction) -> bytes:
            rollout = transactions.retry(tx, request.rollout_id, by, self._fleet_id, self._plan, now_ns)
            status = queries.status_of(tx, rollout, self._plan, now_ns)
            return rollout_pb2.RetryRolloutResponse(rollout=rollout_message(status, self._plan)).SerializeToString()

        key = request_key(request.request_id)
        answer = await self._database.run(lambda tx: answer_once(tx, key, "RetryRollout", now_ns, lambda: work(tx)))
        return rollout_pb2.RetryRolloutResponse.FromString(answer)


def add_to(server: RpcServer, models: ModelService, rollouts: RolloutService) -> None:
    """Serve the calls of both services."""
    rollout_pb2_grpc.add_ModelServiceServicer_to_server(models, server.server)
    rollout_pb2_grpc.add_RolloutServiceServicer_to_server(rollouts, server.server)
