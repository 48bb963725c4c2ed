"""Where the configuration says so, an exam is changed only when two people ask for the same change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from tests.composed import composed, config_with_second_person
from tests.unit.dataset_curator.test_committing import CURATION, BreakingTables, sample

from dataset_curator import queries, rpc, transactions
from dataset_curator.committing import Committer
from dataset_curator.core import set_digest
from dataset_curator.model import Sample
from dataset_curator.rpc import DatasetService
from dataset_curator.settings import DatasetCuratorSettings
from dataset_curator.store import Base
from fleetloop.domain.clips.limits import RECORDING
from fleetloop.domain.clips.stored import StoredClips
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.trunk import load_trunk
from fleetloop.kit import rpc as kit_rpc
from fleetloop.kit.refusal import FailedPreconditionError
from fleetloop.kit.security.identity import Identity
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.dataset.v1 import dataset_pb2

DAY_S = 86_400.0


class Curator:
    """The service over real tables; the samples of an address are given by the test."""

    def __init__(
        self, database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch, second_person: bool
    ) -> None:
        self.database, self.clock = database, ManualClock()
        self.sets: dict[str, list[Sample]] = {}
        monkeypatch.setattr(rpc, "read_set_at", lambda address, objects: self.sets[address])
        monkeypatch.setattr(rpc, "imported_sample", lambda row, *_: row)
        schema, trunk = load_task_schema(Path("config/tasks.yaml")), load_trunk()
        tables, objects = BreakingTables(str(folder / "tables")), Objects((folder / "objects").as_uri())
        clips = StoredClips(objects, RECORDING)  # reads none here, and so starts no process
        committer = Committer(database, tables, objects, clips, schema, trunk, CURATION, "demo", self.clock)
        self.service = DatasetService(database, tables, committer, objects, schema, trunk, self.clock, second_person)

    async def import_(self, who: str, address: str, frozen: bool = True) -> dataset_pb2.DatasetCommitted:
        kit_rpc._caller.set(Identity("demo", "user", who))
        request = dataset_pb2.ImportDatasetRequest(
            request_id=uuid4().hex, dataset="exam" if frozen else "town", source_address=address, reason="r",
            frozen=frozen,
        )  # fmt: skip
        return (await self.service.ImportDataset(request, None)).committed


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def curator(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Curator:
    return Curator(database, tmp_path, monkeypatch, second_person=True)


async def refused(curator: Curator, who: str, address: str) -> None:
    with pytest.raises(FailedPreconditionError, match=rf"user/{who} proposed it; let another person import the same"):
        await curator.import_(who, address)
    assert await curator.database.run(lambda tx: queries.newest_version(tx, "exam")) is None


async def test_one_person_alone_changes_no_test_set_however_often(curator: Curator) -> None:
    curator.sets = {"a": [sample(1), sample(2)]}
    for _ in range(3):
        await refused(curator, "ann", "a")


async def test_the_same_import_by_a_second_person_is_carried_out_and_both_are_named(curator: Curator) -> None:
    curator.sets = {"a": [sample(1), sample(2)], "a again": [sample(2), sample(1)]}
    await refused(curator, "ann", "a")
    committed = await curator.import_("ben", "a again")
    assert (committed.version, committed.added) == ("v1", 2)
    assert committed.reason == "r (proposed by user/ann, approved by user/ben)"


@pytest.mark.parametrize(
    "changed",
    [
        {"sample_id": "other"},
        {"content_sha256": "other"},
        {"choice": "other"},
        {"answers": {"stop_sign": {"is_sign": 0}}},
        {"slice": "easy"},
        {"place": "elsewhere"},
    ],
)
async def test_a_set_that_differs_in_anything_is_another_proposal(
    curator: Curator, changed: dict[str, object]
) -> None:
    curator.sets = {"a": [sample(1)], "b": [replace(sample(1), **changed)]}  # type: ignore[arg-type]
    assert set_digest(curator.sets["a"]) != set_digest(curator.sets["b"])
    await refused(curator, "ann", "a")
    await refused(curator, "ben", "b")
    await curator.import_("ann", "b")


async def test_a_proposal_expires_and_is_pruned(curator: Curator) -> None:
    curator.sets = {"a": [sample(1)]}
    await refused(curator, "ann", "a")
    curator.clock.advance(30 * DAY_S)
    await refused(curator, "ben", "a")
    now_ns = curator.clock.now_utc_ns()
    assert await curator.database.run(lambda tx: transactions.prune_proposals(tx, now_ns, 10)) == 0
    curator.clock.advance(31 * DAY_S)
    now_ns = curator.clock.now_utc_ns()
    assert await curator.database.run(lambda tx: transactions.prune_proposals(tx, now_ns, 10)) == 1


async def test_a_training_set_needs_one_person_and_without_the_rule_a_test_set_too(
    curator: Curator, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curator.sets = {"a": [sample(1)]}
    assert (await curator.import_("ann", "a", frozen=False)).added == 1
    without = Curator(database, tmp_path / "without", monkeypatch, second_person=False)
    without.sets = {"b": [sample(2)]}
    assert (await without.import_("ann", "b")).added == 1


async def test_the_service_asks_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for config, asks in ((Path("config"), False), (config_with_second_person(tmp_path), True)):
        objects = (tmp_path / "objects").as_uri()
        settings = DatasetCuratorSettings(kafka_bootstrap_servers="none:1", config_dir=config, objects_url=objects)
        (service,) = await composed("dataset_curator", settings, tmp_path, monkeypatch)
        assert service._second_person is asks
