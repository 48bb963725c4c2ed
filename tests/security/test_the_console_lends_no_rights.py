"""The console calls for people with their roles, not with its own rights; no other caller may name a person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tests.callers import Callers, channel

from fleetloop.domain.access import all_methods, load_access
from fleetloop.kit.rpc import ON_BEHALF_OF, ROLES, RpcServer, caller, caller_roles, speak_for

METHODS = {f"/{service}/{method}" for service, methods in all_methods().items() for method in methods}
PROGRESS, SUBMIT = "/fleet.label.v1.LabelService/GetProgress", "/fleet.label.v1.LabelService/SubmitLabel"
ROLL_BACK = "/fleet.rollout.v1.RolloutService/RollBack"
DENIED, INVALID = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT


async def who(request: bytes, context: object) -> bytes:
    return f"{caller()} {','.join(caller_roles())}".encode()


class Server:
    """A server that answers every method there is."""

    def __init__(self, callers: Callers) -> None:
        self.callers = callers
        self.server = RpcServer("label-desk", callers.settings("label-desk"), load_access(Path("config")))
        handler = grpc.unary_unary_rpc_method_handler(who)
        for service, methods in all_methods().items():
            handlers = dict.fromkeys(methods, handler)
            self.server.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))

    async def ask(self, caller: str, method: str, metadata: object = ()) -> str:
        """The answer, or the name of the status."""
        async with channel("label-desk", self.server.port, self.callers.credentials(caller)) as opened:
            try:
                answer: bytes = await opened.unary_unary(method)(b"", timeout=10, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                return f"{error.code().name}: {error.details()}"
            return answer.decode()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    made = Server(Callers(tmp_path))
    made.callers.admitted("service/fleet-console")
    await made.server.start([])
    yield made
    await made.server.stop(0)


async def test_without_a_person_the_console_may_call_nothing(server: Server) -> None:
    allowed = {
        method.rpartition("/")[2]
        for method in sorted(METHODS)
        if not (await server.ask("service/fleet-console", method)).startswith(DENIED.name)
    }
    assert allowed == set()


async def test_the_roles_of_the_person_decide(server: Server) -> None:
    async def ask(method: str, roles: list[str]) -> str:
        return await server.ask("service/fleet-console", method, speak_for("ann", roles))

    assert await ask(SUBMIT, ["labeller"]) == "user/ann labeller"
    assert await ask(ROLL_BACK, ["labeller", "operator"]) == "user/ann labeller,operator"
    assert "the login gives roles" in await ask(ROLL_BACK, ["labeller"])
    assert "ann has no role" in await ask(PROGRESS, []), "the console's own right to the method does not count"
    assert (await ask("/fleet.archive.v1.ArchiveService/GetArchive", ["labeller"])).startswith(DENIED.name)


@pytest.mark.parametrize("other", ["service/label-router", "service/rollout-controller", "user/ann", "vehicle/car"])
@pytest.mark.parametrize("metadata", [speak_for("ben", ["operator"]), [(ROLES, "operator")], [(ON_BEHALF_OF, "ben")]])
async def test_no_other_caller_may_name_a_person_or_roles(server: Server, other: str, metadata: object) -> None:
    server.callers.admitted(other, ["labeller"])
    answer = await server.ask(other, ROLL_BACK, metadata)
    assert answer.startswith(f"{DENIED.name}: ")
    assert f"{other} may speak only for itself" in answer


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ([(ROLES, "operator")], ON_BEHALF_OF),
        ([(ON_BEHALF_OF, "ann"), (ON_BEHALF_OF, "ben"), (ROLES, "operator")], ON_BEHALF_OF),
        ([(ON_BEHALF_OF, "user/ann"), (ROLES, "operator")], ON_BEHALF_OF),
        ([(ON_BEHALF_OF, ""), (ROLES, "operator")], ON_BEHALF_OF),
        ([(ON_BEHALF_OF, "ann"), (ROLES, "king")], ROLES),
        ([(ON_BEHALF_OF, "ann"), (ROLES, "operator, lead")], ROLES),
        ([(ON_BEHALF_OF, "ann"), (ROLES, "lead"), (ROLES, "operator")], ROLES),
    ],
)
async def test_malformed_names_and_roles_are_refused_by_field(server: Server, metadata: object, field: str) -> None:
    assert (await server.ask("service/fleet-console", ROLL_BACK, metadata)).startswith(f"{INVALID.name}: {field}: ")


async def test_a_revoked_console_speaks_for_no_one(server: Server) -> None:
    server.callers.revoke("service/fleet-console")
    answer = await server.ask("service/fleet-console", SUBMIT, speak_for("ann", ["labeller"]))
    assert answer.startswith(f"{DENIED.name}: spiffe://f/service/fleet-console was revoked")
