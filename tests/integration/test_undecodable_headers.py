"""On a real Kafka: what cannot be decoded, or unpacks to any size, costs no one but its producer anything."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from tests.integration.conftest import NewTopicFactory

from fleetloop.domain.topics import INGEST
from fleetloop.kit.messaging.consumer import ConsumerLoop
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.messaging.topics import load_topics
from fleetloop.kit.process.clock import SystemClock
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.shipped import topic_catalogue

# aiokafka's compiled record builder takes only str; its pure one calls encode, which this class answers.
_ATTACK = """
import asyncio, sys
from aiokafka import AIOKafkaProducer

class NoText(str):
    def encode(self, *_, **__):
        return b"\\xff\\xfe"

async def main():
    async with AIOKafkaProducer(bootstrap_servers=sys.argv[1], linger_ms=50) as producer:
        headers = ([("a", b"1")], [(NoText("x"), b"1")], [("a", b"1")])
        sent = [await producer.send(sys.argv[2], b"evil", headers=each, partition=0) for each in headers]
        await asyncio.gather(*sent)

asyncio.run(main())
"""


async def test_the_messages_of_others_are_read_before_and_after_it(
    kafka_bootstrap: str, new_topic: NewTopicFactory
) -> None:
    topic = await new_topic()
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        await producer.send_and_wait(topic, b"before", partition=0)
        attack = [sys.executable, "-c", _ATTACK, kafka_bootstrap, topic]
        environment = {**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"}
        await asyncio.to_thread(subprocess.run, attack, check=True, env=environment, timeout=60)
        await producer.send_and_wait(topic, b"after", partition=0)
    read: list[bytes] = []

    async def handle(records: Sequence[Record]) -> None:
        read.extend(record.value for record in records)

    settings = ServiceSettings(kafka_bootstrap_servers=kafka_bootstrap)
    loop, stopping = ConsumerLoop(f"reads-{topic}", [topic], handle, settings, SystemClock()), asyncio.Event()
    running = asyncio.create_task(loop.run(stopping))
    try:
        async with asyncio.timeout(60):
            while b"after" not in read:
                assert not running.done(), running.exception()
                await asyncio.sleep(0.05)
    finally:
        stopping.set()
        await asyncio.gather(running, return_exceptions=True)
    assert [value for value in read if value != b"evil"] == [b"before", b"after"]


async def test_a_topic_of_outside_producers_bounds_what_a_batch_unpacks_to(
    kafka_bootstrap: str, new_topic: NewTopicFactory
) -> None:
    """Without it, a batch of one kilobyte fills the memory of its consumer with half a gigabyte."""
    ingest = load_topics(topic_catalogue())[INGEST]
    options = {name.replace(".", "_"): value for name, value in ingest.broker_config().items()}
    topic = await new_topic(**options)
    async with AIOKafkaProducer(
        bootstrap_servers=kafka_bootstrap, compression_type="gzip", max_batch_size=2**23, max_request_size=2**24
    ) as producer:
        await producer.send_and_wait(topic, bytes(ingest.max_bytes // 2))
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(topic, bytes(2**22))
