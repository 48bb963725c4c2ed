"""What vehicles, subscribers and operators are answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tests.unit.rollout_controller.test_transactions import FIRST, PLAN, SECOND, Fleet
from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

from fleetloop.embedded.ceremony import hold_ceremony
from fleetloop.kit import rpc as kit_rpc
from fleetloop.kit.refusal import InvalidArgumentError, NotFoundError, PermissionDeniedError
from fleetloop.kit.security.identity import Identity
from fleetloop.kit.security.signing import load_key
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import ObjectMissingError
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.rollout.v1 import rollout_pb2
from rollout_controller.core import RESIGN_AFTER_S
from rollout_controller.model import Stage
from rollout_controller.rpc import ModelService, RolloutService
from rollout_controller.store import Base

DIRECTOR, MODELS = rollout_pb2.REPOSITORY_DIRECTOR, rollout_pb2.REPOSITORY_MODELS


class EmptyRepository:
    """A models repository without files."""

    def read(self, name: str) -> bytes:
        raise ObjectMissingError(name)

    target = read


class House:
    def __init__(self, database: Database, folder: Path) -> None:
        self.fleet = Fleet(database)
        self.clock = ManualClock()
        self.trust = hold_ceremony(folder / "signing", datetime.now(UTC))
        self.signer: CryptoSigner = load_key(self.trust.rollout_key)
        self.stopping = asyncio.Event()
        self.models = ModelService(
            database, EmptyRepository(), self.signer, self.trust.folder, "demo", PLAN, self.clock, self.stopping,  # type: ignore[arg-type]
        )  # fmt: skip
        self.rollouts = RolloutService(database, "demo", PLAN, self.clock)

    async def metadata(self, name: str) -> bytes:
        request = rollout_pb2.FetchMetadataRequest(name=name, repository=DIRECTOR)
        return (await self.models.FetchMetadata(request, None)).content

    async def assignment(self, name: str = "1.assignment.json") -> dict[str, object]:
        request = rollout_pb2.FetchTargetRequest(path=name, repository=DIRECTOR)
        chunks = [answer.chunk async for answer in self.models.FetchTarget(request, None)]
        found: dict[str, object] = json.loads(b"".join(chunks))
        return found


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    token = kit_rpc._caller.set(Identity("demo", "vehicle", "car-1"))
    yield House(database, tmp_path)
    kit_rpc._caller.reset(token)
    database.close()


async def test_a_directors_metadata_stays_the_same_until_it_is_a_day_old(house: House) -> None:
    first = await house.metadata("timestamp.json")
    house.clock.advance(RESIGN_AFTER_S)
    assert await house.metadata("timestamp.json") == first
    house.clock.advance(1)
    again = await house.metadata("timestamp.json")
    before, after = (Metadata[Timestamp].from_bytes(raw).signed for raw in (first, again))
    assert (before.version, after.version) == (1, 2)
    assert (after.expires - before.expires).total_seconds() == RESIGN_AFTER_S + 1
    assert await house.metadata("timestamp.json") == again, "signed once, not at every request"


async def test_what_is_signed_again_refers_to_what_is_signed_again(house: House) -> None:
    await house.metadata("timestamp.json")
    house.clock.advance(RESIGN_AFTER_S + 1)
    timestamp = Metadata[Timestamp].from_bytes(await house.metadata("timestamp.json"))
    raw = await house.metadata("2.snapshot.json")
    timestamp.signed.snapshot_meta.verify_length_and_hashes(raw)
    assert Metadata[Snapshot].from_bytes(raw).signed.meta["targets.json"].version == 2
    targets = Metadata[Targets].from_bytes(await house.metadata("2.targets.json"))
    assert (await house.assignment())["version"] == targets.signed.version == 2
    with pytest.raises(NotFoundError, match=r"your director has 2\.snapshot\.json"):
        await house.metadata("1.targets.json")


async def test_a_new_assignment_has_a_higher_version(house: House) -> None:
    assert (await house.assignment())["active"] == ""
    house.fleet.pass_model(FIRST, 1)
    house.fleet.begin(house.clock.now_utc_ns() / 1e9)
    found = await house.assignment()
    assert (found["vehicle_id"], found["active"], found["version"]) == ("car-1", FIRST, 2)


async def test_a_director_answers_only_its_own_vehicle(house: House) -> None:
    token = kit_rpc._caller.set(Identity("demo", "user", "ann"))
    with pytest.raises(PermissionDeniedError, match="a director answers only its own vehicle"):
        await house.metadata("timestamp.json")
    assert await house.metadata("1.root.json"), "the root is public"
    kit_rpc._caller.reset(token)


@pytest.mark.parametrize(
    ("name", "repository", "refusal"),
    [
        ("../key", MODELS, InvalidArgumentError),
        ("9.models.json", MODELS, NotFoundError),
        ("timestamp.json", rollout_pb2.REPOSITORY_UNSPECIFIED, InvalidArgumentError),
    ],
)
async def test_metadata_that_is_not_there_is_refused(
    house: House, name: str, repository: rollout_pb2.Repository.ValueType, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        await house.models.FetchMetadata(rollout_pb2.FetchMetadataRequest(name=name, repository=repository), None)


@pytest.mark.parametrize(
    ("path", "repository", "refusal"),
    [
        ("models/../key", MODELS, InvalidArgumentError),
        ("key", MODELS, InvalidArgumentError),
        ("models/d/s.head.onnx", MODELS, NotFoundError),
        ("abc.other.json", DIRECTOR, NotFoundError),
    ],
)
async def test_a_target_that_is_not_there_is_refused(
    house: House, path: str, repository: rollout_pb2.Repository.ValueType, refusal: type[Exception]
) -> None:
    request = rollout_pb2.FetchTargetRequest(path=path, repository=repository)
    with pytest.raises(refusal):
        await anext(house.models.FetchTarget(request, None))


async def watched(house: House, request: rollout_pb2.WatchModelsRequest, count: int) -> list[int]:
    answers: AsyncIterator[rollout_pb2.WatchModelsResponse] = house.models.WatchModels(request, None)
    async with asyncio.timeout(5):
        return [(await anext(answers)).change.sequence for _ in range(count)]


async def test_a_watch_resumes_after_its_token_and_shows_only_the_stages_that_are_asked_for(house: House) -> None:
    house.fleet.pass_model(FIRST, 1)
    house.fleet.begin(1)
    house.fleet.pass_model(SECOND, 2)
    house.fleet.begin(2)
    assert await watched(house, rollout_pb2.WatchModelsRequest(), 4) == [1, 2, 3, 4]
    assert await watched(house, rollout_pb2.WatchModelsRequest(resume_after=2), 2) == [3, 4]
    released = rollout_pb2.WatchModelsRequest(stages=[rollout_pb2.MODEL_STAGE_RELEASED])
    assert await watched(house, released, 1) == [2]
    later = rollout_pb2.WatchModelsRequest(resume_after=1, stages=[rollout_pb2.MODEL_STAGE_SHADOWING])
    assert await watched(house, later, 1) == [4]


async def test_a_watch_ends_when_the_process_stops(house: House) -> None:
    house.stopping.set()
    assert [answer async for answer in house.models.WatchModels(rollout_pb2.WatchModelsRequest(), None)] == []


async def test_operators_see_rollouts_and_roll_back_once(house: House) -> None:
    token = kit_rpc._caller.set(Identity("demo", "user", "ann"))
    now_s = house.clock.now_utc_ns() / 1e9
    house.fleet.attest("car-1", FIRST, now_s)
    house.fleet.attest("scrapped", "", 1)
    house.fleet.pass_model(FIRST, 1)
    house.fleet.begin(1)
    house.fleet.pass_model(SECOND, 2)
    second = house.fleet.begin(now_s)
    assert second is not None
    (newest, oldest) = (await house.rollouts.ListRollouts(rollout_pb2.ListRolloutsRequest(), None)).rollouts
    assert (newest.state, newest.stage) == (rollout_pb2.ROLLOUT_STATE_RUNNING, rollout_pb2.MODEL_STAGE_SHADOWING)
    assert (list(newest.vehicles), newest.silent_vehicles) == (["car-1"], 1)
    assert (oldest.state, oldest.attested) == (rollout_pb2.ROLLOUT_STATE_COMPLETED, 1)
    request = rollout_pb2.RollBackRequest(request_id="r", rollout_id=second.rollout_id, reason="odd")
    answer = await house.rollouts.RollBack(request, None)
    assert answer.rollout.state == rollout_pb2.ROLLOUT_STATE_ROLLED_BACK
    assert list(answer.rollout.reasons) == ["by user/ann: odd"]
    assert await house.rollouts.RollBack(request, None) == answer
    assert house.fleet.stages()[-1] == (SECOND, Stage.ROLLED_BACK)
    kit_rpc._caller.reset(token)
