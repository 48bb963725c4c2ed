"""Topics as a test sees them."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from tests.kafka import all_rights

from fleetloop.api.installation import RunningFleet
from fleetloop.kit.messaging.events import Event, to_headers
from fleetloop.kit.messaging.signatures import EventSigner
from fleetloop.kit.messaging.topics import load_topics
from fleetloop.kit.security.signing import private_key
from fleetloop.shipped import topic_catalogue


class Topics:
    """Writes events as services do, and reads topics from their beginning."""

    def __init__(self, fleet: RunningFleet) -> None:
        self._options = all_rights(fleet)
        self._keys = fleet.layout.event_keys
        self._producer = AIOKafkaProducer(**self._options, enable_idempotence=True)

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    async def write(self, *events: Event, times: int = 1) -> None:
        """Every event `times` times over, in order."""
        for event in events:
            for _ in range(times):
                headers = [*to_headers(event, "test"), *self._signature(event)]
                await self._producer.send_and_wait(
                    event.topic, event.payload, key=event.key.encode(), headers=headers
                )

    def _signature(self, event: Event) -> list[tuple[str, bytes]]:
        """What the owner of a signed topic would add."""
        topic = load_topics(topic_catalogue())[event.topic]
        if not topic.signed:
            return []
        return [EventSigner(private_key(self._keys / f"{topic.owner}.pem")).header(event)]

    async def read(
        self, topic: str, key: str, at_least: int, within_s: float = 30.0, settle_s: float = 1.0
    ) -> list[Any]:
        """All messages of one key, once `at_least` are there and nothing has come for `settle_s`."""
        consumer = AIOKafkaConsumer(**self._options, auto_offset_reset="earliest")
        await consumer.start()
        try:
            await consumer._client.force_metadata_update()
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            consumer.assign(partitions)
            found: list[Any] = []
            waited_s = quiet_s = 0.0
            while waited_s < within_s and (len(found) < at_least or quiet_s < settle_s):
                polled = await consumer.getmany(timeout_ms=250)
                new = [m for messages in polled.values() for m in messages if m.key == key.encode()]
                found += new
                quiet_s = 0.0 if new else quiet_s + 0.25
                waited_s += 0.25
            return found
        finally:
            await consumer.stop()
