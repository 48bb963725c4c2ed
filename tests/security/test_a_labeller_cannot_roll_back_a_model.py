"""Roles decide, per method, over TLS: a certificate of the fleet is not enough for anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tests.callers import Callers, channel

from fleetloop.domain.access import load_access
from fleetloop.kit.rpc import RpcServer, caller, caller_roles, expect_server
from fleetloop.kit.security.admission import set_roles
from fleetloop.kit.security.identity import Identity

ROLL_BACK = "/fleet.rollout.v1.RolloutService/RollBack"
WATCH = "/fleet.rollout.v1.ModelService/ListModels"
CAMPAIGNS = [
    f"/fleet.campaign.v1.CampaignService/{name}" for name in ("ApplyCampaign", "SetCampaignState", "ResumeTrigger")
]


async def done(request: bytes, context: object) -> bytes:
    return f"{caller()} {','.join(caller_roles())}".encode()


@pytest.fixture
async def callers(tmp_path: Path) -> AsyncIterator[Callers]:
    yield Callers(tmp_path)


@pytest.fixture
async def port(callers: Callers) -> AsyncIterator[int]:
    server = RpcServer("rollout-controller", callers.settings("rollout-controller"), load_access(Path("config")))
    for method in (ROLL_BACK, WATCH, *CAMPAIGNS):
        _, service, name = method.split("/")
        handler = grpc.unary_unary_rpc_method_handler(done)
        server.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    await server.start([])
    yield server.port
    await server.stop(0)


async def ask(port: int, callers: Callers, who: str, method: str = ROLL_BACK) -> str:
    async with channel("rollout-controller", port, callers.credentials(who)) as opened:
        answer: bytes = await opened.unary_unary(method)(b"", timeout=10)
        return answer.decode()


async def refusal(port: int, callers: Callers, who: str, method: str = ROLL_BACK) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(port, callers, who, method)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    return caught.value.details() or ""


@pytest.mark.parametrize("certified", [False, True], ids=["no certificate", "another authority"])
async def test_a_caller_without_the_fleets_certificate_gets_no_connection(
    callers: Callers, port: int, tmp_path: Path, certified: bool
) -> None:
    own = callers.admitted("user/ann", ["operator"])
    theirs = Callers(tmp_path / "elsewhere").credentials("user/ann")
    files = (theirs.key.read_bytes(), theirs.cert.read_bytes()) if certified else ()
    credentials = grpc.ssl_channel_credentials(own.ca.read_bytes(), *files)
    options = [expect_server("rollout-controller", own.cert.read_bytes())]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as opened:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await opened.unary_unary(WATCH)(b"", timeout=1.5)
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest.mark.parametrize("who", ["user/ann", "vehicle/car", "service/fleet-console"])
async def test_a_certificate_that_is_not_admitted_may_do_nothing(callers: Callers, port: int, who: str) -> None:
    for method in (WATCH, ROLL_BACK):
        assert f"spiffe://f/{who} is not enrolled" in await refusal(port, callers, who, method)


@pytest.mark.parametrize("method", CAMPAIGNS)
async def test_a_labeller_cannot_change_a_campaign(callers: Callers, port: int, method: str) -> None:
    callers.admitted("user/ann", ["labeller"])
    assert "it needs the role ml-engineer" in await refusal(port, callers, "user/ann", method)


@pytest.mark.parametrize("role", ["labeller", "lead", "ml-engineer", "subscriber"])
async def test_a_certificate_of_another_role_cannot_roll_back_a_model(callers: Callers, port: int, role: str) -> None:
    callers.admitted("user/ann", [role])
    assert "it needs the role release-manager or operator" in await refusal(port, callers, "user/ann")


@pytest.mark.parametrize("role", ["release-manager", "operator"])
async def test_a_release_manager_and_an_operator_can(callers: Callers, port: int, role: str) -> None:
    callers.admitted("user/ann", [role])
    assert await ask(port, callers, "user/ann") == f"user/ann {role}"


async def test_a_person_without_a_role_may_do_nothing(callers: Callers, port: int) -> None:
    callers.admitted("user/ann")
    assert "ann has no role" in await refusal(port, callers, "user/ann", WATCH)


async def test_a_change_of_roles_holds_from_the_next_call_with_the_same_certificate(
    callers: Callers, port: int
) -> None:
    callers.admitted("user/ann", ["labeller"])
    await refusal(port, callers, "user/ann")
    set_roles(callers.list, Identity("f", "user", "ann"), add=["operator"])
    await ask(port, callers, "user/ann")
    set_roles(callers.list, Identity("f", "user", "ann"), remove=["operator"])
    await refusal(port, callers, "user/ann")


@pytest.mark.parametrize("who", ["service/fleet-console", "service/label-desk", "vehicle/car"])
async def test_services_and_vehicles_cannot_roll_back_even_with_roles_in_the_list(
    callers: Callers, port: int, who: str
) -> None:
    callers.admitted(who, ["operator"])
    assert f"{who} may not call" in await refusal(port, callers, who)
