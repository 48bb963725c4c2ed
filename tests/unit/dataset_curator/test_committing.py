from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataset_curator import transactions
from dataset_curator.committing import Committer, KnownSampleError
from dataset_curator.core import CommitPolicy, LikenessBounds, content_digest
from dataset_curator.model import Sample
from dataset_curator.settings import Curation
from dataset_curator.store import Base
from dataset_curator.tables import DatasetTables
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.trunk import load_trunk
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.dataset.v1 import dataset_pb2
from fleetloop.shipped import config_folder

CURATION = Curation(policy=CommitPolicy(2, 60), bounds=LikenessBounds(0.96, 0.96), commit_most=100)


class BreakingTables(DatasetTables):
    """Real tables that can fail once after the write, and that can be made to wait before it."""

    broken = False

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.writing = threading.Event()
        self.may_write = threading.Event()
        self.may_write.set()

    def append(self, dataset: str, commit_id: str, samples: Sequence[Sample], embedding_width: int) -> int:
        self.writing.set()
        self.may_write.wait(10)
        return super().append(dataset, commit_id, samples, embedding_width)

    def tag(self, dataset: str, tag: str, version: int) -> None:
        if self.broken:
            raise OSError("the disk is full")
        super().tag(dataset, tag, version)


def sample(number: int) -> Sample:
    trunk = load_trunk()
    frames = np.full((1, 1, 16, 16, 3), number % 251, np.uint8)
    frames[..., number % 16, :, 0] = 255
    return Sample(
        sample_id=f"s{number}",
        task="stop_sign",
        choice="plain",
        answers={"stop_sign": {"is_sign": 1}},
        frames=frames,
        content_sha256=content_digest(frames) + str(number),
        embedding=np.eye(1, trunk.width, number % trunk.width, dtype=np.float32)[0],
        trunk=trunk.name,
    )


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def tables(tmp_path: Path) -> BreakingTables:
    return BreakingTables(str(tmp_path / "tables"))


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects((tmp_path / "objects").as_uri())


@pytest.fixture
def committer(database: Database, tables: BreakingTables, objects: Objects) -> Committer:
    schema = load_task_schema(config_folder() / "tasks.yaml")
    return Committer(database, tables, objects, schema, load_trunk(), CURATION, "demo", ManualClock())


async def import_(committer: Committer, request_id: str, numbers: Sequence[int]) -> dataset_pb2.DatasetCommitted:
    return await committer.import_samples("town", [sample(n) for n in numbers], "", False, request_id)


async def test_an_import_that_failed_after_its_write_is_the_version_that_its_repeat_gets(
    committer: Committer, tables: BreakingTables, database: Database
) -> None:
    tables.broken = True
    with pytest.raises(OSError, match="full"):
        await import_(committer, "once", [1, 2])
    tables.broken = False
    again = await import_(committer, "once", [1, 2])
    assert (again.version, again.added, dict(again.refused)) == ("v1", 2, {})
    assert len(await database.run(transactions.versions)) == 1
    assert not await database.run(transactions.intents)


async def test_an_import_whose_caller_goes_away_is_carried_to_its_end(
    committer: Committer, tables: BreakingTables
) -> None:
    tables.may_write.clear()
    call = asyncio.create_task(import_(committer, "once", [1, 2]))
    await asyncio.to_thread(tables.writing.wait, 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    tables.may_write.set()
    again = await import_(committer, "once", [1, 2])
    assert (again.version, again.added) == ("v1", 2)
    assert (await import_(committer, "another", [1, 2, 3])).version == "v2"


async def test_a_repeat_that_overtakes_gets_the_same_version(committer: Committer) -> None:
    first, second = await asyncio.gather(import_(committer, "once", [1, 2]), import_(committer, "once", [1, 2]))
    assert first == second
    assert first.added == 2


async def test_the_diff_has_all_samples_also_where_the_event_has_not(
    committer: Committer, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataset_curator.committing.MOST_IDS_IN_EVENT", 1)
    committed = await import_(committer, "once", [1, 2, 3])
    assert list(committed.added_sample_ids) == ["s1"]
    rows = pq.read_table(io.BytesIO(objects.get(committed.diff_address))).to_pylist()
    assert sorted(row["sample_id"] for row in rows) == ["s1", "s2", "s3"]


async def test_an_import_that_gives_a_known_id_to_other_pictures_is_refused_whole(
    committer: Committer, tables: BreakingTables
) -> None:
    await import_(committer, "once", [1, 2])
    other = replace(sample(7), sample_id="s2")
    with pytest.raises(KnownSampleError, match="sample_id s2: town has it already, with other pictures"):
        await committer.import_samples("town", [sample(5), other], "", False, "twice")
    assert sorted(tables.digests_by_id("town")) == ["s1", "s2"]
    again = await import_(committer, "thrice", [2, 5])  # the same pictures under the same id are but a repeat
    assert (again.added, dict(again.refused)) == (1, {"exact_duplicate": 1})


async def test_an_import_takes_nothing_in_that_a_test_set_has(committer: Committer) -> None:
    await committer.import_samples("exam", [sample(1)], "", True, "exam")
    committed = await import_(committer, "once", [1, 2])
    assert (committed.added, dict(committed.refused)) == (1, {"in_test_set": 1})
