"""The desk's periodic work: decided tasks end, hindsight votes, and the gauges follow the database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from prometheus_client import REGISTRY
from tests.clips import reading
from tests.unit.label_desk.test_transactions import answer, created, published

from fleetloop.domain.tasks import load_task_schema
from fleetloop.kit.process.clock import seconds_to_ns
from fleetloop.kit.storage.database import Database
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.shipped import config_folder
from label_desk import queries, transactions
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
            database, clips, schema, clock, automatic_bound=0.9, audit_share=1e-9, least_agreement=0.9, rng=Random(1)
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
