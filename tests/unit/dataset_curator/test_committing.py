from __future__ import annotations

import asyncio
import io
import shutil
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from prometheus_client import REGISTRY
from tests.clips import reading
from tests.stages import stage_seconds
from tests.unit.dataset_curator.test_preparing import labelled

from dataset_curator import queries, transactions
from dataset_curator.codec import labelled_of
from dataset_curator.committing import Committer, KnownSampleError
from dataset_curator.core import CommitPolicy, LikenessBounds
from dataset_curator.model import DatasetVersion, Sample
from dataset_curator.settings import Curation
from dataset_curator.store import Base
from dataset_curator.tables import DatasetTables, TableUnreadableError
from dataset_curator.worker import Worker
from fleetloop.domain.dataset_digest import DIGESTED, content_digest, dataset_digest
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.trunk import load_trunk
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.shipped import config_folder

CURATION = Curation(policy=CommitPolicy(2, 60), bounds=LikenessBounds(0.96, 0.96), commit_most=100)


class BreakingTables(DatasetTables):
    """Real tables that can fail before or after the write, and that can be made to wait before it."""

    full = False
    """Nothing can be written."""
    broken = False
    """Nothing can be tagged."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.writing = threading.Event()
        self.may_write = threading.Event()
        self.may_write.set()

    def append(self, dataset: str, commit_id: str, samples: Sequence[Sample], embedding_width: int) -> int:
        self.writing.set()
        self.may_write.wait(10)
        if self.full:
            raise OSError("the disk is full")
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
def committer(database: Database, tables: BreakingTables, objects: Objects) -> Iterator[Committer]:
    schema = load_task_schema(config_folder() / "tasks.yaml")
    with reading(objects, schema) as clips:
        yield Committer(database, tables, objects, clips, schema, load_trunk(), CURATION, "demo", ManualClock())


async def import_(committer: Committer, request_id: str, numbers: Sequence[int]) -> DatasetVersion:
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
    assert len(await database.run(queries.versions)) == 1
    assert not await database.run(queries.pending_commits)


async def test_an_import_whose_caller_disconnects_is_finished(committer: Committer, tables: BreakingTables) -> None:
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


async def test_each_version_names_the_digest_of_all_its_rows(committer: Committer, tables: BreakingTables) -> None:
    for number, (request, samples) in enumerate((("once", [1, 2]), ("twice", [3])), 1):
        committed = await import_(committer, request, samples)
        assert committed.content_digest == dataset_digest(tables.rows("town", f"v{number}", DIGESTED))


@pytest.mark.parametrize("change", [{"answers": {"stop_sign": {}}}, {"content_sha256": "0" * 64}, {"slice": "other"}])
async def test_rows_that_were_changed_in_the_table_become_part_of_no_version(
    committer: Committer, tables: BreakingTables, database: Database, change: dict[str, object]
) -> None:
    await import_(committer, "once", [1, 2])
    shutil.rmtree(tables.address("town"))
    swapped = [sample(1), replace(sample(2), **change)]  # type: ignore[arg-type]
    tables.tag("town", "v1", tables.append("town", "swapped", swapped, len(swapped[0].embedding)))
    with pytest.raises(TableUnreadableError, match="v1 has other rows than when it was committed"):
        await import_(committer, "twice", [3])
    assert len(await database.run(queries.versions)) == 1


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


async def test_an_import_admits_no_sample_of_a_test_set(committer: Committer) -> None:
    await committer.import_samples("exam", [sample(1)], "", True, "exam")
    committed = await import_(committer, "once", [1, 2])
    assert (committed.added, dict(committed.refused)) == (1, {"in_test_set": 1})


async def label(committer: Committer, objects: Objects, database: Database, *names: str) -> None:
    """Agreed labels of some samples, each with a clip of its own; they come at once."""
    height = load_task_schema(config_folder() / "tasks.yaml").cameras[0].height
    moments = [labelled(objects, height, name, noise=1 + number) for number, name in enumerate(names)]

    def add(tx: Transaction) -> None:
        for number, moment in enumerate(moments):
            transactions.add_waiting(tx, moment, number)

    await database.run(add)


async def test_a_commit_tells_when_its_samples_were_detected_and_how_long_they_waited(
    committer: Committer, objects: Objects, database: Database
) -> None:
    waited = partial(stage_seconds, "dataset-curator", "dataset")
    count, total = waited()
    imported = await import_(committer, "r1", [1, 2])
    assert (imported.detected_at_utc_ns, waited()) == ((), (count, total)), "imported samples went through no loop"
    height = load_task_schema(config_folder() / "tasks.yaml").cameras[0].height
    at_ns = committer._clock.now_utc_ns()
    for number, waited_s in ((1, 30), (2, 50)):
        message = label_pb2.SampleLabelled.FromString(labelled(objects, height, f"d{number}", noise=number).event)
        message.detected_at_utc_ns, message.labelled_at_utc_ns = number, at_ns - waited_s * 10**9
        moment = labelled_of(message)
        await database.run(partial(transactions.add_waiting, labelled=moment, now_utc_ns=number))
    version = await committer.commit_if_due("town")
    assert version is not None and sorted(version.detected_at_utc_ns) == [1, 2]
    assert waited() == pytest.approx((count + 2, total + 80))


async def test_a_commit_of_labels_that_was_never_written_is_written_at_the_next_start(
    committer: Committer, tables: BreakingTables, objects: Objects, database: Database
) -> None:
    await label(committer, objects, database, "a", "b")
    tables.full = True
    with pytest.raises(OSError, match="full"):
        await committer.commit_if_due("town")
    (pending,) = await database.read(queries.pending_commits)
    await label(committer, objects, database, "a", "b", "later")
    tables.full = False
    await committer.recover()
    (version,) = await database.read(queries.versions)
    assert version == pending.version, "the version that was begun, with its time and its id"
    assert sorted(tables.digests_by_id("town")) == sorted(pending.admitted_ids)
    assert await database.read(queries.pending_commits) == []
    waiting = await database.read(partial(queries.waiting, dataset="town"))
    assert [moment.sample_id for moment in waiting] == ["later"], "it came after the commit was begun"


async def test_a_commit_of_labels_that_was_written_is_not_written_again(
    committer: Committer, tables: BreakingTables, objects: Objects, database: Database
) -> None:
    await label(committer, objects, database, "a", "b")
    tables.broken = True
    with pytest.raises(OSError, match="full"):
        await committer.commit_if_due("town")
    tables.broken = False
    written = tables.open("town")
    assert written is not None and written.count_rows() == 2
    await committer.recover()
    again = tables.open("town")
    assert again is not None and (again.count_rows(), again.version) == (2, written.version)
    assert [version.version for version in await database.read(queries.versions)] == ["v1"]
    assert await database.read(partial(queries.waiting, dataset="town")) == []


async def test_an_import_that_was_never_written_is_abandoned_and_its_retry_is_a_new_one(
    committer: Committer, tables: BreakingTables, database: Database
) -> None:
    tables.full = True
    with pytest.raises(OSError, match="full"):
        await import_(committer, "once", [1, 2])
    assert len(await database.read(queries.pending_commits)) == 1
    tables.full = False
    await committer.recover()
    assert await database.read(queries.pending_commits) == []
    assert await database.read(queries.versions) == []
    again = await import_(committer, "once", [1, 2, 3])
    assert (again.version, again.added) == ("v1", 3)


async def test_a_commit_that_failed_is_resolved_before_the_next_one_of_its_dataset_and_of_no_other(
    committer: Committer, tables: BreakingTables, objects: Objects, database: Database
) -> None:
    tables.broken = True
    with pytest.raises(OSError, match="full"):
        await import_(committer, "once", [1, 2])
    tables.broken = False
    await committer.import_samples("village", [sample(7)], "", False, "other")
    assert [each.dataset for each in await database.read(queries.pending_commits)] == ["town"]
    await label(committer, objects, database, "a", "b")
    next_version = await committer.commit_if_due("town")
    assert next_version is not None
    assert (next_version.version, next_version.parent, next_version.samples) == ("v2", "v1", 4)
    assert await database.read(queries.pending_commits) == []


async def test_the_worker_resolves_what_is_pending_and_then_commits_what_is_due(
    committer: Committer, tables: BreakingTables, objects: Objects, database: Database
) -> None:
    tables.broken = True
    with pytest.raises(OSError, match="full"):
        await import_(committer, "once", [1, 2])
    tables.broken = False
    stopping = asyncio.Event()
    loop = asyncio.create_task(Worker(database, committer).run(stopping, 0.01))
    for count in (1, 2):
        async with asyncio.timeout(20):
            while len(await database.read(queries.versions)) < count:
                await asyncio.sleep(0.01)
        await label(committer, objects, database, "a", "b")
    stopping.set()
    await asyncio.wait_for(loop, 10)
    assert [(each.version, each.added) for each in await database.read(queries.versions)] == [("v2", 2), ("v1", 2)]


@pytest.mark.parametrize("lost", ["exam", "town"])
@pytest.mark.parametrize("how", ["manifest", "folder"])
async def test_a_commit_waits_while_a_table_cannot_be_read_and_other_datasets_go_on(
    committer: Committer, tables: BreakingTables, objects: Objects, database: Database, lost: str, how: str
) -> None:
    """Without the test set's table, its protection would be off: a sample of the exam would be trained on."""
    await committer.import_samples("exam", [sample(1)], "", True, "exam")
    await import_(committer, "first", [2])
    await label(committer, objects, database, "a", "b")
    folder = Path(tables.address(lost)) / "_versions"
    aside = folder.with_name("aside")
    shutil.copytree(folder, aside)
    if how == "folder":
        shutil.rmtree(folder)
    else:
        for manifest in folder.glob("*.manifest"):
            manifest.write_bytes(b"")
    worker = Worker(database, committer)
    before = REGISTRY.get_sample_value("fleetloop_dataset_unreadable_tables_total", {"dataset": "town"}) or 0
    await worker.run_once()
    assert REGISTRY.get_sample_value("fleetloop_dataset_unreadable_tables_total", {"dataset": "town"}) == before + 1
    with pytest.raises(TableUnreadableError, match=lost):
        await import_(committer, "second", [1, 3])
    assert await database.read(queries.pending_commits) == []
    assert len(await database.read(partial(queries.waiting, dataset="town"))) == 2
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    await worker.run_once()
    assert await database.read(partial(queries.waiting, dataset="town")) == []
    second = await import_(committer, "second", [1, 3])
    assert dict(second.refused) == {"in_test_set": 1}
