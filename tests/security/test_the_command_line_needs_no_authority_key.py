"""The command line calls as an enrolled person, where no authority is, and says what is missing."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.callers import Callers

from fleetloop.api.channel import channel_to
from fleetloop.api.installation import RunningFleet
from fleetloop.domain.access import load_access
from fleetloop.errors import UserError
from fleetloop.kit.rpc import RpcServer, caller
from fleetloop.kit.security.identity import IdentityKind
from fleetloop.protos.rollout.v1 import rollout_pb2, rollout_pb2_grpc


class Rollouts(rollout_pb2_grpc.RolloutServiceServicer):
    """Answers with the name of the caller."""

    async def RollBack(self, request: rollout_pb2.RollBackRequest, context: object) -> rollout_pb2.RollBackResponse:
        return rollout_pb2.RollBackResponse(rollout=rollout_pb2.Rollout(rollout_id=str(caller())))


class Installation:
    """A folder with a person's certificate and the address of one service, and no authority."""

    def __init__(self, folder: Path) -> None:
        self.callers = Callers(folder / "elsewhere")
        self.folder = folder / "mine"
        self.port = 0

    def give(self, name: str, roles: list[str]) -> None:
        issued = self.callers.admitted(f"user/{name}", roles)
        shutil.copytree(issued.cert.parent, self.folder / "identities" / "users" / name)
        info = {"fleet_id": "f", "user": name, "rollout_controller_grpc": f"127.0.0.1:{self.port}"}
        (self.folder / "cluster.json").write_text(json.dumps(info))

    async def roll_back(self) -> str:
        def call() -> str:
            with channel_to(self.folder, "rollout_controller") as channel:
                stub = rollout_pb2_grpc.RolloutServiceStub(channel)
                answer: rollout_pb2.RollBackResponse = stub.RollBack(rollout_pb2.RollBackRequest(), timeout=10)
                return answer.rollout.rollout_id

        return await asyncio.to_thread(call)


@pytest.fixture
async def mine(tmp_path: Path) -> AsyncIterator[Installation]:
    made = Installation(tmp_path)
    settings = made.callers.settings("rollout-controller")
    server = RpcServer("rollout-controller", settings, load_access(Path("config")))
    rollout_pb2_grpc.add_RolloutServiceServicer_to_server(Rollouts(), server.server)  # type: ignore[abstract]
    await server.start([])
    made.port = server.port
    yield made
    await server.stop(0)


async def test_an_enrolled_person_calls_without_an_authority(mine: Installation) -> None:
    mine.give("ann", ["release-manager"])
    assert await mine.roll_back() == "user/ann"
    assert not list(mine.folder.rglob("ca.key"))


async def test_a_missing_role_is_named_with_who_can_give_it(mine: Installation) -> None:
    mine.give("ann", ["labeller"])
    with pytest.raises(UserError) as caught:
        await mine.roll_back()
    assert "it needs the role release-manager or operator, and ann has only labeller" in caught.value.message
    assert "an operator gives roles with `fleetloop users roles ann --add ROLE`" in caught.value.message


async def test_who_is_not_enrolled_is_told_how_to_be(mine: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    mine.give("ann", [])
    monkeypatch.setenv("FLEETLOOP_USER", "ben")
    with pytest.raises(UserError, match=r"users/ben/ca\.pem") as caught:
        await mine.roll_back()
    assert "fleetloop users enrol ben" in caught.value.remedy
    monkeypatch.setenv("FLEETLOOP_USER", "../ann")
    with pytest.raises(UserError, match="user name"):
        RunningFleet.open(mine.folder).credentials()


async def test_a_certificate_of_another_person_or_an_expired_one_is_named_before_any_call(mine: Installation) -> None:
    mine.give("ann", ["operator"])
    own = mine.folder / "identities" / "users" / "ann" / "cert.pem"
    own.write_bytes(mine.callers.credentials("user/ben").cert.read_bytes())
    with pytest.raises(UserError, match=r"is the certificate of spiffe://f/user/ben, not of spiffe://f/user/ann"):
        await mine.roll_back()
    past = datetime.now(UTC) - timedelta(days=3)
    expired = mine.callers.authority.issue(
        IdentityKind.USER, "ann", mine.folder / "old", now=past, lifetime=timedelta(days=1)
    )
    own.write_bytes(expired.cert.read_bytes())
    with pytest.raises(UserError, match="expired on"):
        await mine.roll_back()


async def test_a_server_that_cannot_read_its_list_is_not_taken_for_one_that_is_away(mine: Installation) -> None:
    mine.give("ann", ["operator"])
    mine.callers.list.write_text("{")
    with pytest.raises(UserError, match="rollout_controller cannot decide: the admission list"):
        await mine.roll_back()
