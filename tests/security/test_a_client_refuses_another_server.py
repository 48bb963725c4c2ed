"""A certificate of the fleet is not enough to be a server: a client accepts only the service that it calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import ssl
from pathlib import Path

import grpc
import pytest
from tests.callers import Callers, channel, policy_of

from fleetloop.api.channel import channel_to
from fleetloop.errors import UserError
from fleetloop.kit.rpc import RpcServer, expect_server
from fleetloop.kit.security.access import Rule
from fleetloop.kit.security.pki import Credentials

METHOD = "/test.v1.Test/Echo"
POLICY = policy_of({"test.v1.Test/Echo": Rule(roles=("any",), services=("fleet-console",), vehicles=True)})


async def echo(request: bytes, context: object) -> bytes:
    return request


async def serve(callers: Callers, own: Credentials) -> RpcServer:
    """A server with somebody's certificate."""
    settings = callers.settings("label-desk").model_copy(
        update={"tls_ca": own.ca, "tls_cert": own.cert, "tls_key": own.key}
    )
    server = RpcServer("label-desk", settings, POLICY)
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.v1.Test", handlers),))
    await server.start([])
    return server


async def ask(server: RpcServer, own: Credentials) -> bytes:
    async with channel("label-desk", server.port, own) as opened:
        answer: bytes = await opened.unary_unary(METHOD)(b"secret", timeout=1.5)
        return answer


@pytest.mark.parametrize("client", ["service/fleet-console", "user/ann", "vehicle/car"])
async def test_the_service_that_is_meant_is_accepted(tmp_path: Path, client: str) -> None:
    callers = Callers(tmp_path)
    server = await serve(callers, callers.admitted("service/label-desk"))
    try:
        assert await ask(server, callers.admitted(client, ["any"])) == b"secret"
    finally:
        await server.stop(0)


@pytest.mark.parametrize(
    "impostor", ["service/label-router", "service/label-desk2", "vehicle/label-desk", "user/label-desk"]
)
@pytest.mark.parametrize("client", ["service/fleet-console", "user/ann", "vehicle/car"])
async def test_any_other_certificate_of_the_fleet_is_refused(tmp_path: Path, impostor: str, client: str) -> None:
    callers = Callers(tmp_path)
    server = await serve(callers, callers.admitted(impostor))
    try:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(server, callers.admitted(client, ["any"]))
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    finally:
        await server.stop(0)


async def test_the_command_line_refuses_another_service_too(tmp_path: Path) -> None:
    callers, mine = Callers(tmp_path / "fleet"), tmp_path / "mine"
    own = callers.admitted("user/ann", ["any"])
    shutil.copytree(own.cert.parent, mine / "identities" / "users" / "ann")

    def call() -> bytes:
        with channel_to(mine, "label_desk") as opened:
            answer: bytes = opened.unary_unary(METHOD)(b"secret", timeout=1.5)
            return answer

    async def ask_by_command_line(service: str) -> bytes:
        server = await serve(callers, callers.admitted(service))
        info = {"fleet_id": "f", "user": "ann", "label_desk_grpc": f"127.0.0.1:{server.port}"}
        (mine / "cluster.json").write_text(json.dumps(info))
        try:
            return await asyncio.to_thread(call)
        finally:
            await server.stop(0)

    assert await ask_by_command_line("service/label-desk") == b"secret"
    with pytest.raises(UserError, match=r"does not answer|Deadline"):
        await ask_by_command_line("service/label-router")


@pytest.mark.parametrize("kind", ["vehicle", "user"])
def test_the_certificate_of_a_vehicle_or_a_person_is_no_servers_whatever_its_name(tmp_path: Path, kind: str) -> None:
    """The client verifies no name here: the usage in the certificate keeps it from being a server."""
    callers = Callers(tmp_path)
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.check_hostname = False
    own = callers.credentials(f"{kind}/label-desk")
    client.load_verify_locations(own.ca)
    server.load_cert_chain(own.cert, own.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        for _ in range(4):
            for end in ends:
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()


def test_the_expected_name_is_of_the_clients_own_fleet(tmp_path: Path) -> None:
    own = Callers(tmp_path, fleet="berlin").credentials("user/ann")
    assert expect_server("label_desk", own.cert.read_bytes()) == (
        "grpc.ssl_target_name_override",
        "label-desk.service.berlin.fleetloop.internal",
    )
