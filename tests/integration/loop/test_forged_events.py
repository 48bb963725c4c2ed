"""A forged event on the run's real broker, written with the node's own rights, as one who broke a right could."""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaProducer
from tests.integration.loop.topics import Topics
from tests.kafka import all_rights

from fleetloop.domain.messages import event_of
from fleetloop.domain.topics import DATASET
from fleetloop.embedded.run import EmbeddedRun
from fleetloop.kit.ids import causal_id
from fleetloop.kit.messaging.events import header, to_headers
from fleetloop.protos.dataset.v1 import dataset_pb2

READERS = {"training-orchestrator", "rollout-controller", "campaign-keeper"}


async def test_every_reader_sets_a_forged_dataset_version_aside(run: EmbeddedRun, topics: Topics) -> None:
    committed = dataset_pb2.DatasetCommitted(
        event_id=causal_id("forged", time.time_ns()), dataset="forged", version="v1", samples=9000, lance_tag="v1",
        table_address=str(run.layout.objects / "demo" / "datasets" / "forged.lance"),
    )  # fmt: skip
    event = event_of(DATASET, "forged", committed.event_id, committed, time.time_ns())
    async with AIOKafkaProducer(**all_rights(run.fleet)) as producer:
        headers = to_headers(event, "dataset-curator")
        await producer.send_and_wait(DATASET, event.payload, key=b"forged", headers=headers)
    letters = await topics.read(f"{DATASET}.dlq", "forged", len(READERS))
    assert {header(letter.headers, "dead_lettered_by") for letter in letters} == READERS
    assert {header(letter.headers, "reason") for letter in letters} == {"unreadable"}
    await topics.write(event)  # the same with the curator's signature is read
    await asyncio.sleep(2)
    assert len(await topics.read(f"{DATASET}.dlq", "forged", len(READERS))) == len(READERS)
