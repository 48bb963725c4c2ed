"""Health.Watch works, is open to every admitted caller, and cannot be used to lock the others out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fleetloop.domain.access import load_access
from fleetloop.kit import rpc as kit_rpc
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.security.open_calls import OpenCalls

NAME = "fleet.label.v1.LabelService"
POLICY = load_access(Path("config"))
SERVICE = health_pb2.HealthCheckRequest(service=NAME)


async def _server() -> RpcServer:
    settings = ServiceSettings(kafka_bootstrap_servers="none:1", grpc_listen="127.0.0.1:0", fleet_id="demo")
    server = RpcServer("test", settings, POLICY)
    await server.start([NAME])
    return server


async def test_a_watch_of_health_says_when_it_changes() -> None:
    server = await _server()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(SERVICE)
        first = await asyncio.wait_for(watch.read(), 10)
        assert first.status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(server.stop(0.5))
        then = await asyncio.wait_for(watch.read(), 10)
        assert then.status == health_pb2.HealthCheckResponse.NOT_SERVING
        await stopping


async def test_a_caller_with_many_watches_is_refused_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit_rpc, "OpenCalls", lambda: OpenCalls({"service": 5, "user": 5, "vehicle": 5}))
    server = await _server()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(SERVICE) for _ in range(5)]
        for watch in watches:
            await asyncio.wait_for(watch.read(), 10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Watch(SERVICE).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        watches[0].cancel()
        async with asyncio.timeout(10):
            while True:
                try:
                    await stub.Check(SERVICE)
                    break
                except grpc.aio.AioRpcError as error:
                    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                    await asyncio.sleep(0.05)
    await server.stop(0)
