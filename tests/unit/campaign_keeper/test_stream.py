"""Events that outlive the inbox's memory still count once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from campaign_keeper import queries
from campaign_keeper.store import Base
from campaign_keeper.stream import effects
from fleetloop.domain.topics import DATASET
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.storage.database import Database
from fleetloop.protos.dataset.v1 import dataset_pb2


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, Base)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


def test_a_dataset_version_that_is_read_again_long_after_counts_once(database: Database) -> None:
    committed = dataset_pb2.DatasetCommitted(
        event_id="c1", dataset="d", by_trigger=[dataset_pb2.TriggerCount(trigger="fast", version=1, samples=7)]
    )
    record = Record(DATASET, 0, 0, b"d", committed.SerializeToString(), [], 0)
    take = effects(SystemClock())[DATASET]
    for _ in range(2):
        database.run_now(lambda tx: take(tx, record))
    (entry,) = database.run_now(queries.ledger)
    assert (entry.trigger, entry.kept) == ("fast", 7)


def test_retracted_samples_are_no_longer_counted_as_kept(database: Database) -> None:
    take = effects(SystemClock())[DATASET]
    added, removed = ([dataset_pb2.TriggerCount(trigger="fast", version=1, samples=n)] for n in (7, 3))
    versions = [
        dataset_pb2.DatasetCommitted(event_id="c1", dataset="d", by_trigger=added),
        dataset_pb2.DatasetCommitted(
            event_id="c2", dataset="d", retraction=dataset_pb2.Retraction(removed_by_trigger=removed)
        ),
    ]
    for committed in versions:
        record = Record(DATASET, 0, 0, b"d", committed.SerializeToString(), [], 0)
        database.run_now(lambda tx, r=record: take(tx, r))  # type: ignore[misc]
    (entry,) = database.run_now(queries.ledger)
    assert (entry.trigger, entry.kept) == ("fast", 4)
