"""A watch goes on after the server went away, from the last change that it gave, and stops when it is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tests.callers import Callers

from fleetloop import watch_models
from fleetloop.domain.access import load_access
from fleetloop.kit.rpc import RpcServer
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc


class Models(rollout_pb2_grpc.ModelServiceServicer):
    """Tells of two changes a call and then loses the connection."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def WatchModels(
        self, request: rollout_pb2.WatchModelsRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[rollout_pb2.WatchModelsResponse]:
        self.asked.append(request.resume_after)
        for number in (1, 2):
            change = rollout_pb2.ModelChanged(sequence=request.resume_after + number)
            yield rollout_pb2.WatchModelsResponse(change=change)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    async def ListModels(self, request: object, context: object) -> rollout_pb2.ListModelsResponse:
        raise NotImplementedError

    async def FetchMetadata(self, request: object, context: object) -> rollout_pb2.FetchMetadataResponse:
        raise NotImplementedError

    def FetchTarget(self, request: object, context: object) -> AsyncIterator[rollout_pb2.FetchTargetResponse]:
        raise NotImplementedError


async def serve(callers: Callers, models: Models) -> RpcServer:
    server = RpcServer("rollout-controller", callers.settings("rollout-controller"), load_access(Path("config")))
    rollout_pb2_grpc.add_ModelServiceServicer_to_server(models, server.server)
    await server.start(["fleet.rollout.v1.ModelService"])
    return server


async def test_each_change_is_told_once_through_lost_connections(tmp_path: Path) -> None:
    models = Models()
    callers = Callers(tmp_path)
    server = await serve(callers, models)
    try:
        seen = []
        ann = callers.admitted("user/ann", ["subscriber"])
        async for change in watch_models(f"127.0.0.1:{server.port}", ann, resume_after=7):
            seen.append(change.sequence)
            if len(seen) == 5:
                break
        assert seen == [8, 9, 10, 11, 12]
        assert models.asked == [7, 9, 11]
    finally:
        await server.stop(0)


async def test_who_may_not_watch_is_told_so(tmp_path: Path) -> None:
    callers = Callers(tmp_path)
    server = await serve(callers, Models())
    try:
        vehicle = callers.admitted("vehicle/car")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(watch_models(f"127.0.0.1:{server.port}", vehicle))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    finally:
        await server.stop(0)
