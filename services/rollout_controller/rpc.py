"""ModelService for vehicles and subscribers, RolloutService for people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import grpc
import sqlalchemy as sa
from securesystemslib.signer import CryptoSigner

from fleetloop.kit.process.clock import Clock, seconds_to_ns
from fleetloop.kit.refusal import InvalidArgumentError, NotFoundError, PermissionDeniedError
from fleetloop.kit.rpc import caller
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.idempotency import answer_once
from fleetloop.kit.storage.objects import ObjectMissingError
from fleetloop.kit.storage.paging import page_of
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc
from rollout_controller import transactions
from rollout_controller.codec import STAGES
from rollout_controller.metadata import ASSIGNMENT, assignment_bytes, director_files
from rollout_controller.model import Assignment, Cohort, RolloutPlan, Stage
from rollout_controller.publishing import Publisher
from rollout_controller.store import RolloutRow, VehicleRow

MODEL_SERVICE = "fleet.rollout.v1.ModelService"
ROLLOUT_SERVICE = "fleet.rollout.v1.RolloutService"
ALLOWED = {
    f"/{MODEL_SERVICE}/WatchModels": ("user/*",),
    f"/{MODEL_SERVICE}/ListModels": ("user/*", "service/fleet-console"),
    f"/{MODEL_SERVICE}/FetchMetadata": ("vehicle/*", "user/*"),
    f"/{MODEL_SERVICE}/FetchTarget": ("vehicle/*", "user/*"),
    f"/{ROLLOUT_SERVICE}/ListRollouts": ("user/*", "service/fleet-console"),
    f"/{ROLLOUT_SERVICE}/RollBack": ("user/*",),
}
_CHUNK_BYTES = 1024 * 1024
_RESIGN_AFTER_S = 86_400.0
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
        token = request.resume_after
        while not self._stopping.is_set():
            changes = await self._database.read(
                lambda tx, after=token: transactions.changes_after(tx, after, ())  # type: ignore[misc]
            )
            for change in changes:
                token = change.sequence
                if not request.stages or change.stage in request.stages:
                    yield rollout_pb2.WatchModelsResponse(change=change)
            if not changes:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _POLL_S)

    async def ListModels(
        self, request: rollout_pb2.ListModelsRequest, context: object
    ) -> rollout_pb2.ListModelsResponse:
        page = page_of(request.page_size, request.page_token)
        found, more = await self._database.read(lambda tx: transactions.models(tx, page))
        return rollout_pb2.ListModelsResponse(models=found, next_page_token=more)

    async def FetchMetadata(
        self, request: rollout_pb2.FetchMetadataRequest, context: object
    ) -> rollout_pb2.FetchMetadataResponse:
        if request.repository == rollout_pb2.REPOSITORY_MODELS:
            if "/" in request.name:
                raise InvalidArgumentError("a file name without folders is wanted", "name")
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
        vehicle, version, signed_at_ns = await self._mine()
        files = director_files(caller().name, vehicle, version, signed_at_ns, self._signer)
        if name not in files:
            raise NotFoundError(f"your director has {', '.join(sorted(files))}", "name")
        return files[name]

    async def _mine(self) -> tuple[Assignment, int, int]:
        """What the calling vehicle is meant to run, the version of that, and when it was signed."""
        if caller().kind != "vehicle":
            raise PermissionDeniedError("a director speaks to its vehicle alone", "repository")
        name, now_ns = caller().name, self._clock.now_utc_ns()

        def read(tx: Transaction) -> tuple[Assignment, int, int]:
            row = transactions.enlist(tx, name, self._fleet_id, self._plan, now_ns)  # also notes that it lives
            if now_ns - row.signed_at_utc_ns > seconds_to_ns(_RESIGN_AFTER_S):
                row.version += 1
                row.signed_at_utc_ns = now_ns
            return _assignment(row), row.version, row.signed_at_utc_ns

        return await self._database.run(read)

    async def FetchTarget(
        self, request: rollout_pb2.FetchTargetRequest, context: object
    ) -> AsyncIterator[rollout_pb2.FetchTargetResponse]:
        if request.repository == rollout_pb2.REPOSITORY_DIRECTOR:
            if request.path.rpartition(".")[0].rpartition(".")[2] + ".json" != ASSIGNMENT:
                raise NotFoundError(f"a director has {ASSIGNMENT} alone", "path")
            vehicle, version, _ = await self._mine()
            content = assignment_bytes(caller().name, vehicle, version)
        else:
            if not request.path.startswith("models/") or ".." in request.path.split("/"):
                raise InvalidArgumentError("models/<digest>/<sha256>.<file> is wanted", "path")
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

        def read(tx: Transaction) -> list[rollout_pb2.Rollout]:
            rows = tx.session.scalars(sa.select(RolloutRow).order_by(RolloutRow.began_at_utc_ns.desc()))
            vehicles = tx.session.scalars(sa.select(VehicleRow)).all()
            silent = transactions.silent_vehicles(tx, self._plan, now_ns)
            return [_rollout(row, vehicles, silent) for row in rows]

        return rollout_pb2.ListRolloutsResponse(rollouts=await self._database.read(read))

    async def RollBack(self, request: rollout_pb2.RollBackRequest, context: object) -> rollout_pb2.RollBackResponse:
        now_ns = self._clock.now_utc_ns()

        def work(tx: Transaction) -> bytes:
            row = transactions.roll_back(
                tx, request.rollout_id, f"by {caller()}: {request.reason}", self._fleet_id, self._plan, now_ns
            )
            vehicles = tx.session.scalars(sa.select(VehicleRow)).all()
            silent = transactions.silent_vehicles(tx, self._plan, now_ns)
            return rollout_pb2.RollBackResponse(rollout=_rollout(row, vehicles, silent)).SerializeToString()

        key = f"{caller()}:{request.request_id}" if request.request_id else ""
        answer = await self._database.run(lambda tx: answer_once(tx, key, "RollBack", now_ns, lambda: work(tx)))
        return rollout_pb2.RollBackResponse.FromString(answer)


def _assignment(row: VehicleRow) -> Assignment:
    return Assignment(row.active, row.shadow, row.rollout_id, Cohort(row.cohort))


def _rollout(row: RolloutRow, vehicles: Sequence[VehicleRow], silent: int) -> rollout_pb2.Rollout:
    if row.open:
        state = rollout_pb2.ROLLOUT_STATE_RUNNING
    elif row.stage == Stage.ROLLED_BACK.value:
        state = rollout_pb2.ROLLOUT_STATE_ROLLED_BACK
    else:
        state = rollout_pb2.ROLLOUT_STATE_COMPLETED
    return rollout_pb2.Rollout(
        rollout_id=row.rollout_id,
        model_digest=row.digest,
        state=state,
        stage=STAGES[Stage(row.stage)],
        canary_percent=row.canary_percent,
        vehicles=sorted(v.vehicle_id for v in vehicles if row.digest in (v.active, v.shadow)),
        stage_began_at_utc_ns=row.stage_began_at_utc_ns,
        reasons=json.loads(row.reasons),
        attested=sum(v.attested == row.digest for v in vehicles),
        last_attested_at_utc_ns=row.last_attested_at_utc_ns,
        silent_vehicles=silent,
    )
