"""Reads the newest messages of topics, for people who look at them. No consumer group takes part."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition

from fleetloop.kit.messaging.partition_reader import FETCH_BYTES
from fleetloop.kit.messaging.producer import Record, connection_options, record_of_message
from fleetloop.kit.process.settings import ServiceSettings

_DEADLINE_S = 30.0


async def read_newest(settings: ServiceSettings, topics: Iterable[str], limit: int) -> list[Record]:
    """The newest messages of each topic, at most `limit` of each of its partitions, in the order of offsets.

    A topic that does not exist has none. Raises TimeoutError when the broker does not deliver them within 30 s.
    """
    return await _read(settings, dict.fromkeys(topics), limit)


async def read_one(settings: ServiceSettings, topic: str, partition: int, offset: int) -> Record | None:
    """The message at an offset; None when the topic has none there, or none any more."""
    found = await _read(settings, {topic: (partition, offset)}, 1)
    return found[0] if found else None


async def _read(settings: ServiceSettings, topics: dict[str, tuple[int, int] | None], limit: int) -> list[Record]:
    consumer = AIOKafkaConsumer(
        **connection_options(settings),
        client_id="newest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    await consumer.start()
    try:
        async with asyncio.timeout(_DEADLINE_S):
            ranges = await _ranges(consumer, topics, limit)
            return await _read_ranges(consumer, ranges)
    finally:
        await consumer.stop()


async def _ranges(
    consumer: AIOKafkaConsumer, topics: dict[str, tuple[int, int] | None], limit: int
) -> dict[TopicPartition, tuple[int, int]]:
    """Of each partition that has something to read: the first offset, and the one after the last."""
    # A consumer without a group has metadata only on request; aiokafka has no public call for that.
    await consumer._client.force_metadata_update()
    partitions = [
        TopicPartition(topic, number)
        for topic, place in topics.items()
        for number in consumer.partitions_for_topic(topic) or ()
        if place is None or number == place[0]
    ]
    if not partitions:
        return {}
    begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    ranges = {}
    for each in partitions:
        place = topics[each.topic]
        begin, end = (ends[each] - limit, ends[each]) if place is None else (place[1], place[1] + 1)
        begin = max(begin, begins[each]) if place is None else begin
        if begins[each] <= begin < end <= ends[each]:
            ranges[each] = (begin, end)
    return ranges


async def _read_ranges(consumer: AIOKafkaConsumer, ranges: dict[TopicPartition, tuple[int, int]]) -> list[Record]:
    found: list[Record] = []
    for each, (begin, end) in ranges.items():
        consumer.assign([each])
        consumer.seek(each, begin)
        while await consumer.position(each) < end:
            for messages in (await consumer.getmany(timeout_ms=500)).values():
                found += [record_of_message(message) for message in messages if message.offset < end]
    return found
