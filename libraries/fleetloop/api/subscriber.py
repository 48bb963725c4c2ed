"""Watch models: every change once, across restarts of the server and network failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import grpc

from fleetloop.kit.rpc import open_channel
from fleetloop.kit.security.pki import Credentials
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc

# After these a new connection may succeed. Any other code is the server's decision about this caller.
_RETRIED = frozenset(
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
    """Yield every change of a model, in order and each once, without end. Reconnects by itself.

    Args:
        address: host:port of the rollout controller.
        credentials: A subscriber's certificate.
        resume_after: Continue after the change with this `sequence`; 0 starts at the first one. Store the `sequence`
            of the last change that you handled.
        stages: Only changes to these stages; all by default.

    Raises grpc.aio.AioRpcError if the server refuses the caller, for example with PERMISSION_DENIED.
    """
    pause_s = _FIRST_PAUSE_S
    async with open_channel(
        "rollout-controller", address, credentials.ca, credentials.cert, credentials.key
    ) as channel:
        stub = rollout_pb2_grpc.ModelServiceStub(channel)
        while True:
            request = rollout_pb2.WatchModelsRequest(resume_after=resume_after, stages=stages)
            try:
                async for response in stub.WatchModels(request, wait_for_ready=True):
                    pause_s = _FIRST_PAUSE_S
                    resume_after = response.change.sequence
                    yield response.change
            except grpc.aio.AioRpcError as error:
                if error.code() not in _RETRIED:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
