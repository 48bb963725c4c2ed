"""The right to write a topic does not decide what is trained: events without the owner's signature are set aside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.fleetloop.kit.messaging.test_signatures import record_of
from tests.unit.training_orchestrator.test_worker import House

from fleetloop.domain.messages import event_of
from fleetloop.domain.topics import DATASET, MODEL
from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import reason_of
from fleetloop.kit.messaging.records import Record
from fleetloop.kit.messaging.signatures import EventTrust
from fleetloop.kit.process.metrics import DeadLetterReason
from fleetloop.kit.storage.inbox import Inbox
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.dataset.v1 import dataset_pb2
from training_orchestrator import queries
from training_orchestrator.stream import EFFECTS

CURATOR, CONTROLLER, ATTACKER = (Ed25519PrivateKey.generate() for _ in range(3))


class SetAside:
    def __init__(self) -> None:
        self.found: list[tuple[Record, Exception]] = []

    async def send_to_dlq(self, record: Record, error: Exception, attempts: int = 1) -> None:
        self.found.append((record, error))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path, f"sqlite:///{tmp_path / 'state.db'}")
    yield house
    house.database.close()


def poisoned() -> Event:
    """A version with the samples that somebody would like the next model to learn."""
    committed = dataset_pb2.DatasetCommitted(
        event_id="forged", dataset="town", version="v666", samples=9000, lance_tag="v666",
        table_address="tables/town.lance",
    )  # fmt: skip
    return event_of(DATASET, "town", "forged", committed, 1)


@pytest.mark.parametrize("key", [None, ATTACKER, CONTROLLER], ids=["unsigned", "own key", "key of another service"])
async def test_a_forged_dataset_version_is_set_aside_and_trains_nothing(
    house: House, key: Ed25519PrivateKey | None
) -> None:
    aside = SetAside()
    trust = EventTrust({DATASET: [CURATOR.public_key()], MODEL: [CONTROLLER.public_key()]})
    inbox = Inbox("training-orchestrator", house.database, aside, ManualClock(), EFFECTS, trust)
    await inbox.handle([record_of(poisoned(), key)])
    ((_, error),) = aside.found
    assert reason_of(error) is DeadLetterReason.UNREADABLE
    newest = house.database.read_now(lambda tx: queries.newest_version(tx, "town"))
    assert newest is not None and newest.version == "v1"
    await house.worker.run_once()
    assert [request.dataset.version for _, request in house.jobs.launched] == ["v1"]


async def test_the_same_event_of_the_owner_is_used_once(house: House) -> None:
    aside = SetAside()
    trust = EventTrust({DATASET: [CURATOR.public_key()]})
    inbox = Inbox("training-orchestrator", house.database, aside, ManualClock(), EFFECTS, trust)
    await inbox.handle([record_of(poisoned(), CURATOR)] * 2)
    assert aside.found == []
    await house.worker.run_once()
    assert [request.dataset.version for _, request in house.jobs.launched] == ["v666"]
