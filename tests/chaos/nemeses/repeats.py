"""The same events five times, and a day late: what producers that retry, and vehicles without a network, do."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from tests.chaos.load import Load
from tests.chaos.system import System
from tests.chaos.vehicle import S, make_batch, note_sent

from fleetloop.domain import topics
from fleetloop.domain.telemetry_codec import encode_batch

TIMES = 5
DAY_S = 86_400
REPEATED = (
    topics.INGEST, topics.TELEMETRY, topics.HEALTH, topics.TRIGGER, topics.CLIP, topics.COMMAND, topics.LABEL_TASK,
    topics.LABEL, topics.DATASET,
)  # fmt: skip
_NEWEST = 20


class Repeats:
    """Writes the newest messages of every topic five times more, half of them with yesterday's timestamp.

    A vehicle that comes back after a day without a network sends batches of yesterday, each five times.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed

    async def start(self, system: System, load: Load) -> str:
        """Write all repeats."""
        rng = random.Random(self.seed)
        newest = await _newest_messages(system.bootstrap_servers)
        producer = AIOKafkaProducer(bootstrap_servers=system.bootstrap_servers, acks="all", enable_idempotence=True)
        await producer.start()
        try:
            again = [message for message in newest for _ in range(TIMES)]
            rng.shuffle(again)
            yesterday_ms = round((time.time() - DAY_S) * 1000)
            for message in again:
                await producer.send(
                    message.topic, message.value, key=message.key, headers=list(message.headers),
                    timestamp_ms=yesterday_ms if rng.random() < 0.5 else None,
                )  # fmt: skip
            await producer.flush()
            late = await self._send_yesterday(load, producer)
        finally:
            await producer.stop()
        return f"{len(newest)} messages {TIMES} times, and {late} batches of yesterday {TIMES} times"

    async def _send_yesterday(self, load: Load, producer: AIOKafkaProducer, batches: int = 30) -> int:
        """Send the batches of a drive of yesterday, in order, each several times."""
        late = load.late
        for _ in range(batches):
            number, late.sequence = late.sequence, late.sequence + 1
            start_ns = round(number * late.rates.batch_s * S)
            batch = make_batch(
                late.fleet, late.name, late.boot_id, number, start_ns, late.began_utc_ns + start_ns, late.rates
            )
            which = note_sent(load.recorder, batch)
            value = encode_batch(batch).SerializeToString()
            for _ in range(TIMES):
                await producer.send_and_wait(topics.INGEST, value, key=late.name.encode())
            load.recorder.add("acknowledged", id=which)
        return batches

    async def stop(self, system: System, load: Load) -> None:
        """Nothing is left to be undone."""


async def _newest_messages(bootstrap_servers: str) -> list[Any]:
    """The newest messages of each partition of the repeated topics."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, isolation_level="read_committed")
    await consumer.start()
    try:
        await consumer._client.force_metadata_update()
        partitions = [TopicPartition(t, p) for t in REPEATED for p in sorted(consumer.partitions_for_topic(t) or ())]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, max(0, ends[partition] - _NEWEST))
        found = []
        async with asyncio.timeout(30):
            while [each for each in partitions if await consumer.position(each) < ends[each]]:
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    found += messages
        return found
    finally:
        await consumer.stop()
