"""The services between a firing and a model on one real Kafka, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
from tests.integration.loop.topics import Topics

from fleetloop.embedded import EmbeddedRun, embedded_run

SERVICES = ["campaign_keeper", "label_router", "fleet_monitor"]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRun]:
    """The services, up and ready."""
    folder = tmp_path_factory.mktemp("loop")
    with embedded_run(folder, now=datetime.now(UTC), services=SERVICES, ready_within_s=90) as running:
        yield running


@pytest.fixture
async def topics(run: EmbeddedRun) -> AsyncIterator[Topics]:
    """Topics of the run."""
    topics = Topics(run.fleet.kafka_bootstrap_servers)
    await topics.start()
    yield topics
    await topics.stop()
