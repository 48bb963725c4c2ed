"""ModelService for vehicles and subscribers, RolloutService for operators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

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
from rollout_controller import queries
from rollout_controller.codec import change_message, rollout_message, stages_of, stop_message
from rollout_controller.core import extensions_used
from rollout_controller.lifecycle import Event
from rollout_controller.metadata import ASSIGNMENT, assignment_bytes, director_files
from rollout_controller.model import RolloutPlan, SignedAssignment
from rollout_controller.publishing import Publisher
from rollout_controller.transactions import actions, assignments
from rollout_controller.transactions.actions import Action
from rollout_controller.trust import TrustFolder

MODEL_SERVICE = "fleet.rollout.v1.ModelService"
ROLLOUT_SERVICE = "fleet.rollout.v1.RolloutService"
_CHUNK_BYTES = 1024 * 1024
_POLL_S = 1.0
_Request = (
    rollout_pb2.RollBackRequest
    | rollout_pb2.ApproveReleaseRequest
    | rollout_pb2.RetryRolloutRequest
    | rollout_pb2.PauseRolloutRequest
    | rollout_pb2.ResumeRolloutRequest
    | rollout_pb2.AbortRolloutRequest
)
_Response = TypeVar(
    "_Response",
    rollout_pb2.RollBackResponse,
    rollout_pb2.ApproveReleaseResponse,
    rollout_pb2.RetryRolloutResponse,
    rollout_pb2.PauseRolloutResponse,
    rollout_pb2.ResumeRolloutResponse,
    rollout_pb2.AbortRolloutResponse,
)


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
        self._trust = TrustFolder(trust_dir)
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
        if name.endswith(".root.json"):
            root = await asyncio.to_thread(self._trust.read, "director", name)
            if root is None:
                raise NotFoundError(f"the director has no {name}", "name")
            return root
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
        found, stop = await self._database.read(
            lambda tx: (queries.rollouts(tx, self._plan, now_ns), queries.stop(tx))
        )
        return rollout_pb2.ListRolloutsResponse(
            rollouts=[rollout_message(each, self._plan) for each in found], stop=stop_message(stop)
        )

    async def GetRollout(
        self, request: rollout_pb2.GetRolloutRequest, context: object
    ) -> rollout_pb2.GetRolloutResponse:
        now_ns = self._clock.now_utc_ns()

        def work(tx: Transaction) -> rollout_pb2.GetRolloutResponse:
            status = queries.rollout_status(tx, request.rollout_id, self._plan, now_ns)
            if status is None:
                raise NotFoundError("no such rollout", "rollout_id", "`fleetloop rollouts list` has them all")
            rollout = status.rollout
            return rollout_pb2.GetRolloutResponse(
                rollout=rollout_message(status, self._plan),
                stage_max_s=self._plan.stage_max_s,
                extensions_used=extensions_used(rollout.position, self._plan),
                extensions=self._plan.extensions,
                forecast=queries.forecast(tx, rollout, self._plan, now_ns) if rollout.is_open else "",
            )

        return await self._database.read(work)

    async def RollBack(self, request: rollout_pb2.RollBackRequest, context: object) -> rollout_pb2.RollBackResponse:
        return await self._act("RollBack", Event.ROLL_BACK, request, rollout_pb2.RollBackResponse)

    async def ApproveRelease(
        self, request: rollout_pb2.ApproveReleaseRequest, context: object
    ) -> rollout_pb2.ApproveReleaseResponse:
        return await self._act("ApproveRelease", Event.APPROVE, request, rollout_pb2.ApproveReleaseResponse)

    async def RetryRollout(
        self, request: rollout_pb2.RetryRolloutRequest, context: object
    ) -> rollout_pb2.RetryRolloutResponse:
        return await self._act("RetryRollout", Event.RETRY, request, rollout_pb2.RetryRolloutResponse)

    async def PauseRollout(
        self, request: rollout_pb2.PauseRolloutRequest, context: object
    ) -> rollout_pb2.PauseRolloutResponse:
        return await self._act("PauseRollout", Event.PAUSE, request, rollout_pb2.PauseRolloutResponse)

    async def ResumeRollout(
        self, request: rollout_pb2.ResumeRolloutRequest, context: object
    ) -> rollout_pb2.ResumeRolloutResponse:
        return await self._act("ResumeRollout", Event.RESUME, request, rollout_pb2.ResumeRolloutResponse)

    async def AbortRollout(
        self, request: rollout_pb2.AbortRolloutRequest, context: object
    ) -> rollout_pb2.AbortRolloutResponse:
        return await self._act("AbortRollout", Event.ABORT, request, rollout_pb2.AbortRolloutResponse)

    async def StopRollouts(
        self, request: rollout_pb2.StopRolloutsRequest, context: object
    ) -> rollout_pb2.StopRolloutsResponse:
        action = self._action(request.reason)

        def work(tx: Transaction) -> bytes:
            stop = actions.stop_all(tx, action)
            return rollout_pb2.StopRolloutsResponse(stop=stop_message(stop)).SerializeToString()

        answer = await self._once("StopRollouts", request.request_id, action, work)
        return rollout_pb2.StopRolloutsResponse.FromString(answer)

    async def ResumeRollouts(
        self, request: rollout_pb2.ResumeRolloutsRequest, context: object
    ) -> rollout_pb2.ResumeRolloutsResponse:
        action = self._action(request.reason)

        def work(tx: Transaction) -> bytes:
            actions.resume_all(tx, action)
            return rollout_pb2.ResumeRolloutsResponse().SerializeToString()

        answer = await self._once("ResumeRollouts", request.request_id, action, work)
        return rollout_pb2.ResumeRolloutsResponse.FromString(answer)

    async def _act(self, method: str, event: Event, request: _Request, response_type: type[_Response]) -> _Response:
        """Carry out an action on one rollout, in the name of the caller."""
        action = self._action(request.reason)

        def work(tx: Transaction) -> bytes:
            rollout = actions.act(tx, event, request.rollout_id, action)
            status = queries.status_of(tx, rollout, self._plan, action.now_utc_ns)
            return response_type(rollout=rollout_message(status, self._plan)).SerializeToString()

        return response_type.FromString(await self._once(method, request.request_id, action, work))

    def _action(self, reason: str) -> Action:
        return Action(str(caller()), reason, self._fleet_id, self._plan, self._clock.now_utc_ns())

    async def _once(
        self, method: str, request_id: str, action: Action, work: Callable[[Transaction], bytes]
    ) -> bytes:
        key = request_key(request_id)
        now_ns = action.now_utc_ns
        return await self._database.run(lambda tx: answer_once(tx, key, method, now_ns, lambda: work(tx)))


def add_to(server: RpcServer, models: ModelService, rollouts: RolloutService) -> None:
    """Serve the calls of both services."""
    rollout_pb2_grpc.add_ModelServiceServicer_to_server(models, server.server)
    rollout_pb2_grpc.add_RolloutServiceServicer_to_server(rollouts, server.server)
