"""Tells of every new model, from where one left off, through restarts of the server and breaks of the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import grpc

from fleetloop.kit.rpc import open_channel
from fleetloop.kit.security.pki import Credentials
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc

_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0


async def watch_models(
    address: str,
    credentials: Credentials,
    resume_after: int = 0,
    stages: Sequence[rollout_pb2.ModelStage.ValueType] = (),
) -> AsyncIterator[rollout_pb2.ModelChanged]:
    """Every change of a model after `resume_after`, in order, without end; each once.

    Keep the last change's `sequence`: given as `resume_after` it goes on there. Connects again by itself; raises
    grpc.aio.AioRpcError when the server refuses (PERMISSION_DENIED and the like).
    """
    pause_s = _FIRST_PAUSE_S
    async with open_channel(address, credentials.ca, credentials.cert, credentials.key) as channel:
        stub = rollout_pb2_grpc.ModelServiceStub(channel)
        while True:
            request = rollout_pb2.WatchModelsRequest(resume_after=resume_after, stages=stages)
            try:
                async for response in stub.WatchModels(request, wait_for_ready=True):
                    pause_s = _FIRST_PAUSE_S
                    resume_after = response.change.sequence
                    yield response.change
            except grpc.aio.AioRpcError as error:
                if error.code() not in _PASSING:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
