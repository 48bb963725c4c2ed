"""The router's periodic work: overdue clips are requested again, and the gauge shows those that are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY
from tests.unit.label_router.test_transactions import NOW, ROUTING, clip, fired, progress, published

from fleetloop.domain.topics import COMMAND
from fleetloop.kit.storage.database import Database
from fleetloop.kit.testing import ManualClock
from label_router.model import Progress
from label_router.store import Base
from label_router.transactions import record_clip, record_firing
from label_router.worker import Worker


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


async def test_overdue_clips_are_requested_again_until_they_expire(database: Database) -> None:
    clock = ManualClock(utc_ns=NOW)
    worker = Worker(database, ROUTING, clock)
    for name in ("one", "two"):
        database.run_now(lambda tx, n=name: record_firing(tx, fired(n), ROUTING, NOW))  # type: ignore[misc]
    database.run_now(lambda tx: record_clip(tx, clip("two"), ROUTING, NOW))
    await worker.run_once()
    assert REGISTRY.get_sample_value("fleetloop_route_waiting_clips") == 1
    assert len(published(database, COMMAND)) == 2, "nothing is overdue"
    clock.advance(ROUTING.repeat_s)
    await worker.run_once()
    assert len(published(database, COMMAND)) == 3
    clock.advance(ROUTING.clip_expires_s)
    await worker.run_once()
    assert progress(database, "one") == Progress.DROPPED.value
    await worker.run_once()
    assert REGISTRY.get_sample_value("fleetloop_route_waiting_clips") == 0


async def test_the_worker_ends_with_the_process(database: Database) -> None:
    stopping = asyncio.Event()
    loop = asyncio.create_task(Worker(database, ROUTING, ManualClock()).run(stopping, 60))
    await asyncio.sleep(0.05)
    stopping.set()
    await asyncio.wait_for(loop, 5)
