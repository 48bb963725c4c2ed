"""A watch goes on after the server went away, from the last change that it gave, and stops when it is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from fleetloop import watch_models
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.rpc import RpcServer
from fleetloop.kit.security.identity import AllowList, IdentityKind
from fleetloop.kit.security.pki import CertificateAuthority, Credentials
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc

ALLOWED = {"/fleet.rollout.v1.ModelService/*": ("user/*",)}


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


async def serve(folder: Path, models: Models) -> tuple[RpcServer, CertificateAuthority]:
    authority = CertificateAuthority.open(folder / "authority", fleet="f", now=datetime.now(UTC))
    own = authority.issue(IdentityKind.SERVICE, "rollout-controller", folder / "service", now=datetime.now(UTC))
    settings = ServiceSettings(
        fleet_id="f", kafka_bootstrap_servers="none:1", tls_ca=own.ca, tls_cert=own.cert, tls_key=own.key
    )
    server = RpcServer("rollout-controller", settings, AllowList("f", ALLOWED))
    rollout_pb2_grpc.add_ModelServiceServicer_to_server(models, server.server)
    await server.start(["fleet.rollout.v1.ModelService"])
    return server, authority


def person(authority: CertificateAuthority, folder: Path, kind: IdentityKind = IdentityKind.USER) -> Credentials:
    return authority.issue(kind, "subscriber", folder / kind.value, now=datetime.now(UTC))


async def test_each_change_is_told_once_through_lost_connections(tmp_path: Path) -> None:
    models = Models()
    server, authority = await serve(tmp_path, models)
    try:
        seen = []
        async for change in watch_models(f"127.0.0.1:{server.port}", person(authority, tmp_path), resume_after=7):
            seen.append(change.sequence)
            if len(seen) == 5:
                break
        assert seen == [8, 9, 10, 11, 12]
        assert models.asked == [7, 9, 11]
    finally:
        await server.stop(0)


async def test_who_may_not_watch_is_told_so(tmp_path: Path) -> None:
    server, authority = await serve(tmp_path, Models())
    try:
        vehicle = person(authority, tmp_path, IdentityKind.VEHICLE)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(watch_models(f"127.0.0.1:{server.port}", vehicle))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    finally:
        await server.stop(0)
