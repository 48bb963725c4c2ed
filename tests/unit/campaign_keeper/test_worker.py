"""Gauges that the keeper sets by the clock, and those of the ledger after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import pytest
from prometheus_client import REGISTRY
from tests.unit.campaign_keeper.test_transactions import apply, label, move, trigger

from campaign_keeper.metrics import EARNINGS
from campaign_keeper.model import Count
from campaign_keeper.store import Base
from campaign_keeper.transactions import ledger
from campaign_keeper.worker import Worker
from fleetloop.kit.storage.database import Database, Transaction
from fleetloop.protos.campaign.v1 import campaign_pb2


class Router:
    async def dropped(self) -> Mapping[str, Mapping[str, int]]:
        return {"fast": {"boring": 3}}


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database, Router())


def triggers_in(state: str) -> float | None:
    return REGISTRY.get_sample_value("fleetloop_campaign_triggers", {"campaign": "c", "state": state})


async def test_triggers_are_shown_in_the_state_of_their_campaign(worker: Worker, database: Database) -> None:
    apply(database, trigger(quota=1), trigger("other"), trigger("third"))
    label(database, 1)
    await worker.run_once()
    assert (triggers_in("running"), triggers_in("suspended"), triggers_in("ended")) == (2, 0, 1)
    assert (
        REGISTRY.get_sample_value("fleetloop_campaign_dropped_firings", {"trigger": "fast", "reason": "boring"}) == 3
    )
    move(database, campaign_pb2.CAMPAIGN_STATE_SUSPENDED)
    await worker.run_once()
    assert (triggers_in("running"), triggers_in("suspended"), triggers_in("ended")) == (0, 2, 1)


async def test_the_ledgers_gauges_are_restored(worker: Worker, database: Database) -> None:
    def count(tx: Transaction) -> None:
        ledger.record_firing(tx, "f1", "c", "fast", 2, 7)
        ledger.count_for_firing(tx, "f1", Count.CLIP_BYTES, 7, 500)

    database.run_now(count)
    EARNINGS.clear()
    await worker.restore_gauges()
    labels = {"campaign": "c", "trigger": "fast", "version": "2"}
    assert REGISTRY.get_sample_value("fleetloop_campaign_trigger_earnings", labels | {"count": "fired"}) == 1
    assert REGISTRY.get_sample_value("fleetloop_campaign_trigger_earnings", labels | {"count": "clip_bytes"}) == 500


async def test_the_worker_ends_with_the_process(worker: Worker) -> None:
    stopping = asyncio.Event()
    loop = asyncio.create_task(worker.run(stopping))
    await asyncio.sleep(0.05)
    stopping.set()
    await asyncio.wait_for(loop, 5)
