"""The real broker that all integration tests share: one per session, up in a few seconds, gone afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from fleetloop.embedded.broker import running_broker
from fleetloop.errors import UserError
from fleetloop.supervisor import NotReadyError


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a Kafka that answers. Without one the run ends with one sentence and fails."""
    running = running_broker(tmp_path_factory.mktemp("broker"))
    try:
        bootstrap_servers = running.__enter__()
    except (UserError, NotReadyError) as error:
        pytest.exit(f"integration tests need a Kafka: {error}", returncode=1)
    try:
        yield bootstrap_servers
    finally:
        running.__exit__(None, None, None)


NewTopicFactory = Callable[..., Awaitable[str]]


@pytest.fixture
def new_topic(kafka_bootstrap: str) -> NewTopicFactory:
    """`await new_topic(partitions=4, **config)` makes a topic that no other test knows and returns its name."""

    async def make(partitions: int = 1, **config: str) -> str:
        name = f"test-{uuid4().hex[:12]}"
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
        await admin.start()
        try:
            settings = {key.replace("_", "."): value for key, value in config.items()}
            await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=settings)])
        finally:
            await admin.close()
        return name

    return make
