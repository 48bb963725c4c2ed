"""One vehicle has at most its share of a version; what is above it waits, and joins when others have caught up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from tests.clips import reading
from tests.unit.dataset_curator.test_committing import CURATION, BreakingTables, database, objects, tables
from tests.unit.dataset_curator.test_retracting import LIAR, add, moment, of, retract, wait

from dataset_curator import queries
from dataset_curator.committing import Committer
from dataset_curator.core import ShareBound, from_vehicles, within_share
from dataset_curator.model import RowSelector
from dataset_curator.store import VehicleCountRow
from dataset_curator.worker import Worker
from fleetloop.domain.tasks import load_task_schema
from fleetloop.domain.trunk import load_trunk
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.shipped import config_folder

__all__ = ["database", "objects", "tables"]
HALF = ShareBound(0.5, 4)


@dataclass(frozen=True)
class Moment:
    vehicle_id: str


@pytest.fixture
def committer(database: Database, tables: BreakingTables, objects: Objects) -> Iterator[Committer]:
    schema = load_task_schema(config_folder() / "tasks.yaml")
    curation = CURATION.model_copy(update={"share": HALF})
    with reading(objects, schema) as clips:
        yield Committer(database, tables, objects, clips, schema, load_trunk(), curation, "demo", ManualClock())


def names(database: Database, dataset: str = "town") -> dict[str, int]:
    return database.read_now(lambda tx: queries.vehicle_counts(tx, dataset))


def held(database: Database) -> dict[str, int]:
    return database.read_now(lambda tx: queries.held_counts(tx, "town"))


VEHICLES = st.lists(st.sampled_from(["", "a", "b", "c", "d"]), max_size=40)
COUNTS = st.dictionaries(st.sampled_from(["", "a", "b", "c"]), st.integers(0, 30))
BOUNDS = st.builds(ShareBound, st.sampled_from([0.05, 0.2, 0.34, 0.5, 1.0]), st.integers(1, 50))


@given(VEHICLES, COUNTS, BOUNDS)
def test_no_vehicle_that_gains_samples_is_above_its_share_and_no_more_could_join(
    waiting: Sequence[str], counts: dict[str, int], bound: ShareBound
) -> None:
    moments = [Moment(vehicle) for vehicle in waiting]
    joined = within_share(moments, counts, bound)
    gained = Counter(each.vehicle_id for each in joined)
    after = Counter(counts) + gained
    most = bound.most(from_vehicles(after))
    assert all(after[vehicle] <= most for vehicle in gained if vehicle)
    assert gained[""] == waiting.count("")
    for vehicle in {*waiting} - {""}:
        if gained[vehicle] < waiting.count(vehicle):  # it was left out only because one more would be too many
            assert after[vehicle] + 1 > bound.most(from_vehicles(after) + 1)


@given(st.integers(0, 200), st.integers(0, 100), BOUNDS)
def test_the_room_of_a_vehicle_is_what_it_could_gain_by_itself(others: int, samples: int, bound: ShareBound) -> None:
    room = bound.room(others + samples, samples)
    if bound.share < 1:
        assert room == 0 or samples + room <= bound.most(others + samples + room)
        assert samples + room + 1 > bound.most(others + samples + room + 1)


@given(VEHICLES, COUNTS)
def test_a_share_of_one_holds_nothing_for_a_fleet_of_one(waiting: Sequence[str], counts: dict[str, int]) -> None:
    moments = [Moment(vehicle) for vehicle in waiting]
    assert within_share(moments, counts, ShareBound(1.0, 1)) == moments


@pytest.mark.parametrize(("rows", "most"), [(0, 100), (500, 100), (504, 100), (505, 101), (5000, 1000)])
def test_below_the_least_number_the_share_is_taken_of_that_number(rows: int, most: int) -> None:
    assert ShareBound(0.2, 500).most(rows) == most


async def test_what_is_above_the_share_waits_and_joins_when_others_have_caught_up(
    committer: Committer, tables: BreakingTables, objects: Objects, database: Database
) -> None:
    await wait(database, *(moment(objects, f"l{n}", n, vehicle_id="liar") for n in range(1, 6)))
    first = await committer.commit_if_due("town")
    assert first is not None and (first.added, dict(first.refused)) == (2, {})
    assert (names(database), held(database)) == ({"": 0, "liar": 2}, {"liar": 3})
    assert await committer.commit_if_due("town") is None, "held samples make no commit due"
    (state,) = await database.read(partial(queries.curation, bound=HALF))
    assert (state.waiting, [(h.vehicle_id, h.held, h.samples) for h in state.held]) == (0, [("liar", 3, 2)])
    assert (state.vehicle_samples, state.most_of_a_vehicle) == (2, 2)
    await wait(database, *(moment(objects, f"h{n}", 10 + n, vehicle_id=f"car-{n % 2}") for n in range(4)))
    second = await committer.commit_if_due("town")
    assert second is not None and second.added == 6, "two of the liar join the four of others: four of eight"
    assert (names(database), held(database)) == ({"": 0, "liar": 4, "car-0": 2, "car-1": 2}, {"liar": 1})
    assert sorted(tables.digests_by_id("town")) == ["h0", "h1", "h2", "h3", "l1", "l2", "l3", "l4"]


async def test_many_held_samples_of_one_vehicle_keep_no_other_waiting(
    committer: Committer, objects: Objects, database: Database
) -> None:
    await wait(database, *(moment(objects, f"l{n}", n, vehicle_id="liar") for n in range(1, 9)))
    committer._curation = committer._curation.model_copy(update={"commit_most": 3})
    while await committer.commit_if_due("town") is not None:
        pass
    assert held(database)["liar"] >= 1
    await wait(database, *(moment(objects, f"h{n}", 20 + n, vehicle_id="honest") for n in range(2)))
    version = await committer.commit_if_due("town")
    assert version is not None and names(database)["honest"] == 2


async def test_imported_samples_make_no_room(committer: Committer, objects: Objects, database: Database) -> None:
    await add(committer, *(of(n) for n in range(1, 9)))
    await wait(database, *(moment(objects, f"l{n}", n, vehicle_id="liar") for n in range(1, 5)))
    version = await committer.commit_if_due("town")
    assert version is not None and version.added == 2
    assert names(database) == {"": 8, "liar": 2}


async def test_a_retraction_takes_its_rows_from_the_counts(committer: Committer, database: Database) -> None:
    await add(committer, of(1), of(2, vehicle_id="liar"), of(3, vehicle_id="honest"))
    await retract(committer, database, LIAR)
    assert names(database) == {"": 1, "honest": 1}


async def test_a_dataset_from_before_is_counted_once(
    committer: Committer, database: Database, tables: BreakingTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(committer, of(1), of(2, vehicle_id="a"), of(3, vehicle_id="a"))
    with database.engine.begin() as connection:
        connection.execute(VehicleCountRow.__table__.delete())  # type: ignore[attr-defined]
    await add(committer, of(4, vehicle_id="b"))
    assert names(database) == {"": 1, "a": 2, "b": 1}
    reads: list[Sequence[str]] = []
    rows = tables.rows

    def counted(
        dataset: str, tag: str, columns: Sequence[str], of: RowSelector | None = None
    ) -> Iterator[dict[str, object]]:
        reads.append(columns)
        return rows(dataset, tag, columns, of)

    monkeypatch.setattr(tables, "rows", counted)
    await add(committer, of(5, vehicle_id="b"))
    assert names(database)["b"] == 2
    assert ["vehicle_id"] not in reads, "the cost of a commit does not grow with the history"


async def test_a_commit_that_is_finished_after_a_failure_counts_once(
    committer: Committer, tables: BreakingTables, objects: Objects, database: Database
) -> None:
    await wait(database, *(moment(objects, f"h{n}", n, vehicle_id=f"car-{n}") for n in range(2)))
    tables.broken = True
    with pytest.raises(OSError, match="full"):
        await committer.commit_if_due("town")
    tables.broken = False
    (pending,) = await database.read(queries.pending_commits)
    assert pending.by_vehicle == {"car-0": 1, "car-1": 1}
    for _ in range(2):
        await committer.recover()
    assert names(database) == {"": 0, "car-0": 1, "car-1": 1}


async def test_the_gauges_are_zero_when_nothing_waits_any_more(
    committer: Committer, objects: Objects, database: Database
) -> None:
    worker = Worker(database, committer)
    await wait(database, *(moment(objects, f"h{n}", n, vehicle_id=f"car-{n}") for n in range(2)))
    for waiting in (2, 0):
        await worker.run_once()
        assert REGISTRY.get_sample_value("fleetloop_dataset_waiting_samples", {"dataset": "town"}) == waiting
