"""Who the caller is: the certificate's owner, or the person whom a trusted caller names; no other name counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from prometheus_client import REGISTRY
from tests.callers import Callers, channel, policy_of

from fleetloop.kit.refusal import FailedPreconditionError
from fleetloop.kit.rpc import ON_BEHALF_OF, ROLES, RpcServer, caller, open_channel
from fleetloop.kit.security.access import Rule
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.kit.security.pki import CertificateAuthority

METHOD, CLOSED = "/test.v1.Test/WhoAmI", "/test.v1.Test/ForServicesOnly"
FAILING, REFUSING, UNNAMED = (f"/test.v1.Test/{name}" for name in ("Fail", "Refuse", "Unnamed"))
SPEAKER, OTHER = "service/fleet-console", "service/label-router"
NOW = datetime.now(UTC)
POLICY = policy_of(
    {
        "test.v1.Test/WhoAmI": Rule(roles=("any",), services=("fleet-console", "label-router")),
        "test.v1.Test/ForServicesOnly": Rule(services=("fleet-console",)),
        "test.v1.Test/Fail": Rule(roles=("any",)),
        "test.v1.Test/Refuse": Rule(roles=("any",)),
    }
)


async def who_am_i(request: bytes, context: object) -> bytes:
    return str(caller()).encode()


async def fail(request: bytes, context: object) -> bytes:
    raise KeyError("the password is hunter2")


async def refuse(request: bytes, context: object) -> bytes:
    raise FailedPreconditionError("it has ended", "task_id")


class Desk:
    """A running server, and calls to it with somebody's certificate."""

    def __init__(self, folder: Path) -> None:
        self.callers = Callers(folder)
        self.server = RpcServer("label-desk", self.callers.settings("label-desk"), POLICY)
        works = {METHOD: who_am_i, CLOSED: who_am_i, FAILING: fail, REFUSING: refuse, UNNAMED: who_am_i}
        handlers = {
            name.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(work) for name, work in works.items()
        }
        self.server.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.v1.Test", handlers),))

    async def ask(self, who: str, *names: str, method: str = METHOD, roles: str = "any") -> str:
        own = self.callers.admitted(who, ["any"])
        metadata = [(ON_BEHALF_OF, each) for each in names]
        async with channel("label-desk", self.server.port, own) as opened:
            answer: bytes = await opened.unary_unary(method)(
                b"", metadata=[*metadata, *([(ROLES, roles)] if names else [])], timeout=10
            )
            return answer.decode()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.server.start([])
    yield desk
    await desk.server.stop(0)


async def refused(desk: Desk, who: str, *names: str, method: str = METHOD) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await desk.ask(who, *names, method=method)
    return caught.value.code(), caught.value.details() or ""


async def test_a_speaker_speaks_for_the_person_it_names_and_else_for_itself(desk: Desk) -> None:
    assert await desk.ask(SPEAKER, "ann.lee-2") == "user/ann.lee-2"
    assert await desk.ask(SPEAKER, "ben") == "user/ben"
    assert await desk.ask(SPEAKER) == SPEAKER
    assert await desk.ask("user/ann") == "user/ann"


@pytest.mark.parametrize("who", [OTHER, "user/ann", "user/fleet-console"])
async def test_nobody_else_may_name_anybody(desk: Desk, who: str) -> None:
    code, text = await refused(desk, who, "ben")
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert who in text
    assert ON_BEHALF_OF in text


@pytest.mark.parametrize("name", ["", "a b", "../ann", "-ann", "a" * 64, "user/ann", "ann@example.org", "*"])
async def test_a_name_that_is_none_is_refused(desk: Desk, name: str) -> None:
    code, text = await refused(desk, SPEAKER, name)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith(f"{ON_BEHALF_OF}: ")


async def test_two_names_are_refused(desk: Desk) -> None:
    assert (await refused(desk, SPEAKER, "ann", "ben"))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_speaker_cannot_lend_its_own_rights_to_a_person(desk: Desk) -> None:
    assert await desk.ask(SPEAKER, method=CLOSED) == SPEAKER
    assert (await refused(desk, SPEAKER, "ann", method=CLOSED))[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_a_refusal_reaches_the_caller_with_its_field_and_its_code(desk: Desk) -> None:
    assert await refused(desk, "user/ann", method=REFUSING) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "task_id: it has ended",
    )


async def test_what_fails_inside_stays_inside(desk: Desk) -> None:
    code, text = await refused(desk, "user/ann", method=FAILING)
    assert code is grpc.StatusCode.INTERNAL
    assert "hunter2" not in text
    labels = {"service": "label-desk", "method": FAILING, "code": "INTERNAL"}
    assert REGISTRY.get_sample_value("fleetloop_rpcs_total", labels) == 1


@pytest.mark.parametrize(("who", "method"), [("user/ann", CLOSED), ("vehicle/car", METHOD), ("user/ann", UNNAMED)])
async def test_whom_no_rule_names_is_refused(desk: Desk, who: str, method: str) -> None:
    code, text = await refused(desk, who, method=method)
    assert (code, text.partition(":")[0]) == (grpc.StatusCode.PERMISSION_DENIED, f"{who} may not call {method}")


async def test_a_certificate_of_another_fleet_or_none_gets_nowhere(desk: Desk, tmp_path: Path) -> None:
    foreign = CertificateAuthority.open(tmp_path / "foreign", fleet="f", now=NOW)
    own = foreign.issue(IdentityKind.USER, "ann", tmp_path / "foreign-ann", now=NOW)
    ours = tmp_path / "service" / "label-desk" / "ca.pem"
    address = f"127.0.0.1:{desk.server.port}"
    for opened in (
        open_channel("label-desk", address, own.ca, own.cert, own.key),
        open_channel("label-desk", address, ours, own.cert, own.key),
    ):
        async with opened:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await opened.unary_unary(METHOD)(b"", timeout=1)
            assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
