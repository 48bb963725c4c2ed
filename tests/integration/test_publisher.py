"""What the publisher counts as produced: the alert that telemetry has stopped lives on it."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import REGISTRY
from tests.integration.conftest import NewTopicFactory

from fleetloop.kit.messaging.events import Event
from fleetloop.kit.messaging.producer import KafkaPublisher
from fleetloop.kit.process.settings import ServiceSettings


def _event(topic: str, number: int, payload: bytes = b"x") -> Event:
    return Event(topic, "car", f"id-{number}", "fleet.test.v1.Thing", payload, 1_700_000_000_000_000_000)


def _produced(service: str, topic: str) -> float:
    return REGISTRY.get_sample_value("fleetloop_produced_messages_total", {"service": service, "topic": topic}) or 0.0


async def test_what_kafka_acknowledged_is_counted_however_it_was_sent(
    kafka_bootstrap: str, new_topic: NewTopicFactory
) -> None:
    topic = await new_topic(max_message_bytes="2000")
    publisher = KafkaPublisher("test-publisher", ServiceSettings(kafka_bootstrap_servers=kafka_bootstrap))
    await publisher.start()
    try:
        await publisher.publish([_event(topic, number) for number in range(3)])
        for number in range(3, 5):
            await (await publisher.enqueue(_event(topic, number)))
        await publisher.send_raw(topic, b"car", b"x")
        assert _produced("test-publisher", topic) == 6
        with pytest.raises(Exception, match=r"(?i)large|size"):
            await publisher.publish([_event(topic, 5, np.random.default_rng(1).bytes(100_000))])
        assert _produced("test-publisher", topic) == 6
    finally:
        await publisher.stop()
