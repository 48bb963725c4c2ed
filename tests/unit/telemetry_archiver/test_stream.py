"""The archiver's shell against a consumer in memory: when files close, what is committed, and what counts as lag."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, RebalanceInProgressError
from prometheus_client import REGISTRY
from tests.unit.fleetloop.kit.messaging.fake_consumer import FakeConsumer, eventually

from fleetloop.domain.topics import TELEMETRY
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.testing import ManualClock
from telemetry_archiver.core import OpenFile
from telemetry_archiver.model import SeenBatches
from telemetry_archiver.settings import TelemetryArchiverSettings
from telemetry_archiver.stream import ArchiverStream

TP = TopicPartition(TELEMETRY, 3)
SETTINGS = TelemetryArchiverSettings(kafka_bootstrap_servers="nowhere:1", stuck_after_s=60)


class Archive:
    """Storage that says where files begin and keeps which offsets are in them."""

    def __init__(self, begins: int = 0) -> None:
        self.begins = begins
        self.files: list[tuple[int, int]] = []
        self.broken: Exception | None = None

    def begin(self, partition: int) -> OpenFile:
        if self.broken is not None:
            raise self.broken
        return OpenFile(self.begins, SeenBatches())

    def encode(self, file: OpenFile) -> bytes:
        return b""

    def create(self, partition: int, file: OpenFile, content: bytes) -> int:
        self.files.append((file.first_offset, file.last_offset))
        return 100


class Publisher:
    def __init__(self) -> None:
        self.dead: list[int] = []

    async def send_to_dlq(self, record: Record, error: Exception, attempts: int = 1) -> None:
        self.dead.append(record.offset)


class Running:
    """An archiver on a log of messages that are not batches: they count in files and go to the dead-letter queue."""

    def __init__(self, service: str, monkeypatch: pytest.MonkeyPatch, messages: int = 5, begins: int = 0) -> None:
        self.service = service
        self.consumer = FakeConsumer().install(monkeypatch)
        self.consumer.append(TP, messages)
        self.archive, self.publisher = Archive(begins), Publisher()
        self.clock, self.stopping = ManualClock(), asyncio.Event()
        archive: Any = self.archive
        publisher: Any = self.publisher
        self.stream = ArchiverStream(service, archive, publisher, self.clock, SETTINGS)

    async def start(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.stream.run(self.stopping))
        await eventually(lambda: self.consumer.started)
        await self.consumer.join(TP)
        return task

    async def everything_read(self) -> None:
        await eventually(lambda: self.consumer.positions[TP] == 5 and self.lag() == 5)

    def lag(self) -> float | None:
        labels = {"service": self.service, "topic": TELEMETRY, "partition": "3"}
        return REGISTRY.get_sample_value("fleetloop_consumer_lag_messages", labels)


async def test_what_is_not_in_a_file_is_lag_although_it_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running("archiver-lag", monkeypatch)
    task = await running.start()
    await running.everything_read()
    running.clock.advance(59)
    await eventually(lambda: running.lag() == 0)
    assert running.archive.files == [(0, 4)]
    assert running.consumer.commits == [{TP: 5}]
    assert running.publisher.dead == [0, 1, 2, 3, 4]
    running.stopping.set()
    await asyncio.wait_for(task, 5)


async def test_what_is_in_a_file_is_no_lag_even_when_its_commit_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running("archiver-lost", monkeypatch)
    running.consumer.commit_error = RebalanceInProgressError("x")
    task = await running.start()
    await running.everything_read()
    running.clock.advance(31)
    await eventually(lambda: running.lag() == 0)
    assert (running.archive.files, running.consumer.commits) == ([(0, 4)], [])
    running.stopping.set()
    await asyncio.wait_for(task, 5)


async def test_storage_says_where_reading_begins_whatever_was_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running("archiver-begin", monkeypatch, begins=3)
    task = await running.start()
    await eventually(lambda: running.consumer.positions[TP] == 5)
    running.stopping.set()
    await asyncio.wait_for(task, 5)
    assert running.archive.files == [(3, 4)], "and an open file is closed at the end"
    assert running.consumer.commits == [{TP: 5}]


async def test_a_partition_that_cannot_be_opened_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running("archiver-broken", monkeypatch)
    running.archive.broken = ConnectionError("the object store is gone")
    task = await running.start()
    with pytest.raises(ConnectionError, match="the object store is gone"):
        await asyncio.wait_for(task, 5)
    assert running.consumer.stopped


async def test_what_was_read_of_a_revoked_partition_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running("archiver-revoked", monkeypatch)
    task = await running.start()
    await running.everything_read()
    await running.consumer.leave(TP)
    assert running.lag() == 0
    running.stopping.set()
    await asyncio.wait_for(task, 5)
    assert (running.archive.files, running.consumer.commits) == ([], [])


async def test_alerts_see_the_first_dead_letter_of_an_archiver(monkeypatch: pytest.MonkeyPatch) -> None:
    Running("archiver-new", monkeypatch)
    labels = {"service": "archiver-new", "topic": TELEMETRY, "reason": "unreadable"}
    assert REGISTRY.get_sample_value("fleetloop_dead_letters_total", labels) == 0


@pytest.mark.parametrize("told", [True, False])
async def test_a_partition_revoked_while_it_is_opened_again_is_dropped_and_the_process_goes_on(
    monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """Another archiver has created the file, and the partition goes to that one while this one reads storage."""
    running = Running(f"archiver-seek-{told}", monkeypatch)
    task = await running.start()
    await running.everything_read()
    monkeypatch.setattr(running.archive, "create", lambda *_: None)
    bounds = running.consumer.end_offsets

    async def revoked_meanwhile(partitions: Any) -> Any:
        ends = await bounds(partitions)
        if told:
            await running.consumer.leave(TP)
        return ends

    def refuse(partition: TopicPartition, offset: int) -> None:
        raise IllegalStateError(f"{partition} is not assigned")

    monkeypatch.setattr(running.consumer, "end_offsets", revoked_meanwhile)
    monkeypatch.setattr(running.consumer, "seek", refuse)
    running.clock.advance(31)
    await eventually(lambda: not running.stream._partitions)
    await asyncio.sleep(0.05)
    assert not task.done()
    running.stopping.set()
    await asyncio.wait_for(task, 5)
    assert running.consumer.commits == []
