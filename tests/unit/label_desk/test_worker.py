"""The desk's periodic work: decided tasks end, hindsight votes, and the gauges follow the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest
from prometheus_client import REGISTRY
from tests.clips import reading
from tests.unit.label_desk.test_audits import checked_by_people
from tests.unit.label_desk.test_transactions import answer, created, published

from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.label.v1 import label_pb2
from fleetloop.shipped import config_folder
from label_desk import queries, transactions
from label_desk.codec import task_of
from label_desk.core import CheckPolicy
from label_desk.model import Check, Source, Vote
from label_desk.store import Base
from label_desk.worker import Worker

MOST = 10


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def worker(database: Database, clock: ManualClock, tmp_path: Path) -> Iterator[Worker]:
    schema = load_task_schema(config_folder() / "tasks.yaml")
    with reading(Objects(tmp_path.as_uri()), schema) as clips:
        yield Worker(
            database, clips, schema, clock, automatic_bound=0.9, checks=CheckPolicy(1e-9, 0.9, 1), rng=Random(1)
        )


async def one_turn(worker: Worker) -> None:
    """Let the loop that ends tasks go round once, and stop it."""
    stopping = asyncio.Event()
    loop = asyncio.create_task(worker.end_decided_tasks(stopping))
    await asyncio.sleep(0.2)
    stopping.set()
    await asyncio.wait_for(loop, 5)


async def test_a_decided_task_ends_after_its_undo_window_and_not_before(
    worker: Worker, database: Database, clock: ManualClock
) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created()))
    for author in ("ann", "ben"):
        answer(database, author, "held", now=clock.now_utc_ns())
    await one_turn(worker)
    assert published(database) == []
    labels = {"project": "stop-signs"}
    assert REGISTRY.get_sample_value("fleetloop_label_open_tasks", labels) == 1
    age_s = (clock.now_utc_ns() - 1) / 1e9
    assert REGISTRY.get_sample_value("fleetloop_label_oldest_task_age_seconds", labels) == pytest.approx(age_s)
    clock.advance(5)
    await one_turn(worker)
    (event,) = published(database)
    assert event.labelled_at_utc_ns == clock.now_utc_ns()
    assert REGISTRY.get_sample_value("fleetloop_label_open_tasks", labels) == 0


async def test_a_task_whose_clip_is_gone_is_left_to_people(worker: Worker, database: Database) -> None:
    database.run_now(lambda tx: transactions.create_task(tx, created(hindsight=True)))
    assert database.run_now(lambda tx: transactions.lease_next(tx, "ann", "", 60, MOST, 10)) is None
    before = REGISTRY.get_sample_value("fleetloop_label_unsure_hindsight_total", {"project": "stop-signs"}) or 0
    assert await worker.vote_once() == 1
    assert await worker.vote_once() == 0
    assert database.read_now(queries.tasks_for_hindsight) == []
    assert database.run_now(lambda tx: transactions.lease_next(tx, "ann", "", 60, MOST, 10)) is not None
    after = REGISTRY.get_sample_value("fleetloop_label_unsure_hindsight_total", {"project": "stop-signs"})
    assert after == before + 1


async def test_the_loops_end_when_the_process_stops(worker: Worker) -> None:
    stopping = asyncio.Event()
    loops = asyncio.gather(worker.end_decided_tasks(stopping), worker.vote_by_hindsight(stopping))
    await asyncio.sleep(0.05)
    stopping.set()
    await asyncio.wait_for(loops, seconds_to_ns(5) / 1e9)


async def test_people_label_the_moments_of_a_vehicle_that_they_contradicted_and_hindsight_those_of_others(
    worker: Worker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    guess = Vote("hindsight/1", Source.HINDSIGHT, {"stop_sign": "held"}, 0.97, 11)
    monkeypatch.setattr("label_desk.worker.hindsight_vote", lambda *_: guess)
    for number in range(3):
        checked_by_people(database, number, "liar", right=False, check=Check.OF_SOURCE)
        for other in range(10):
            checked_by_people(database, 10 * number + other, "honest", right=True, check=Check.OF_SOURCE)
    for vehicle in ("liar", "honest"):
        event = label_pb2.LabelTaskCreated.FromString(created(f"new-{vehicle}", hindsight=True).event)
        event.provenance.vehicle_id = vehicle
        await database.run(partial(transactions.create_task, task=task_of(event)))
    assert await worker.vote_once() == 2
    rows = {
        name: await database.read(partial(queries.task_row, task_id=f"new-{name}")) for name in ("liar", "honest")
    }
    assert {name: (row.outcome, row.wants_people) for name, row in rows.items()} == {
        "liar": ("", True),
        "honest": ("agreed", True),
    }
    stopping = asyncio.Event()
    loop = asyncio.create_task(worker.watch_agreement(stopping))
    await asyncio.sleep(0.2)
    stopping.set()
    await asyncio.wait_for(loop, 5)
    source = {"source": "hindsight"}
    assert REGISTRY.get_sample_value("fleetloop_label_contradicted_vehicles", source) == 1
    assert REGISTRY.get_sample_value("fleetloop_label_source_decides", source) == 1


async def test_people_check_all_answers_about_a_vehicle_until_they_have_looked_at_one(
    worker: Worker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 forged clips of a new vehicle were labelled by hindsight within 10.5 s, before anyone could look at one."""
    guess = Vote("hindsight/1", Source.HINDSIGHT, {"stop_sign": "held"}, 0.97, 11)
    monkeypatch.setattr("label_desk.worker.hindsight_vote", lambda *_: guess)

    async def arrive(first: int, count: int) -> None:
        for number in range(first, first + count):
            event = label_pb2.LabelTaskCreated.FromString(created(f"f{number}", hindsight=True).event)
            event.provenance.vehicle_id = "new"
            await database.run(partial(transactions.create_task, task=task_of(event)))
        while await worker.vote_once():
            pass

    await arrive(0, 40)
    assert published(database) == []
    for author in ("ann", "ben"):
        answer(database, author, "held", seconds_to_ns(20), "f0")
    await database.run(lambda tx: transactions.end_decided(tx, seconds_to_ns(99), 0.9))
    await arrive(40, 10)
    by_hindsight = [event for event in published(database) if event.source == label_pb2.LABEL_SOURCE_HINDSIGHT]
    assert len(by_hindsight) == 10
