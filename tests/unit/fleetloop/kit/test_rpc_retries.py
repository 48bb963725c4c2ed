"""A call is tried again while its server is away, and only then."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from fleetloop.kit.rpc import open_channel, retry_config

METHOD = "/test.v1.Test/Try"


async def answers(*codes: grpc.StatusCode) -> tuple[grpc.aio.Server, int, list[int]]:
    """A server whose first calls end with `codes` and whose later ones succeed; its port, and one entry per call."""
    calls: list[int] = []

    async def handle(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        calls.append(1)
        if len(calls) <= len(codes):
            await context.abort(codes[len(calls) - 1], "not now")
        return b"done"

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(handle)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.v1.Test", {"Try": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port, calls


async def test_a_call_is_tried_again_while_the_server_is_unavailable() -> None:
    server, port, calls = await answers(*[grpc.StatusCode.UNAVAILABLE] * 2)
    async with open_channel("label-desk", f"127.0.0.1:{port}", None, None, None) as channel:
        assert await channel.unary_unary(METHOD)(b"", timeout=20) == b"done"
    assert len(calls) == 3
    await server.stop(0)


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL])
async def test_a_refusal_is_final(code: grpc.StatusCode) -> None:
    server, port, calls = await answers(code)
    async with open_channel("label-desk", f"127.0.0.1:{port}", None, None, None) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(METHOD)(b"", timeout=20)
    assert (caught.value.code(), len(calls)) == (code, 1)
    await server.stop(0)


@pytest.mark.parametrize("waits", [False, True])
def test_a_client_may_wait_for_a_server_that_is_not_there_yet(waits: bool) -> None:
    (method,) = json.loads(retry_config(wait_for_ready=waits))["methodConfig"]
    assert method["waitForReady"] is waits
