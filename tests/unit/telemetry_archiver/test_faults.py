"""A batch that no file can hold is set aside, and every other batch is archived exactly once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.fleetloop.kit.messaging.fake_consumer import FakeConsumer, eventually
from tests.unit.telemetry_archiver.test_core import batch

from fleetloop.domain.archive_files import list_files, read_file
from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.telemetry_codec import encode_batch
from fleetloop.domain.topics import TELEMETRY
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.storage.objects import Objects
from fleetloop.kit.testing import ManualClock
from fleetloop.protos.telemetry.v1 import telemetry_pb2
from telemetry_archiver.core import OpenFile, first_at_fault
from telemetry_archiver.model import Arrival, SeenBatches
from telemetry_archiver.settings import TelemetryArchiverSettings
from telemetry_archiver.store import Archive
from telemetry_archiver.stream import ArchiverStream

TP = TopicPartition(TELEMETRY, 0)
SETTINGS = TelemetryArchiverSettings(kafka_bootstrap_servers="nowhere:1", stuck_after_s=60)


class DeadLetters:
    def __init__(self) -> None:
        self.received: list[tuple[int, int]] = []

    async def send_to_dlq(self, record: Record, error: Exception, attempts: int = 1) -> None:
        self.received.append((record.offset, attempts))


def good(sequence: int) -> bytes:
    return encode_batch(batch(sequence)).SerializeToString()


def with_words(sequence: int, value: float) -> bytes:
    """A batch whose FLOAT32 column has a dictionary: the bytes are readable, and mean nothing."""
    message = encode_batch(batch(sequence))
    for column in message.columns:
        column.values = np.array([value, value], np.float32).tobytes()
        column.dictionary.extend(["a", "b"])
    return message.SerializeToString()


def at_the_end_of_time(sequence: int) -> bytes:
    message = encode_batch(batch(sequence))
    message.start_utc_ns = 2**63 - 1
    return message.SerializeToString()


def largest_sequence() -> bytes:
    message = telemetry_pb2.TelemetryBatch.FromString(good(0))
    message.sequence = 2**64 - 1
    return message.SerializeToString()


@pytest.mark.parametrize(
    "bad",
    [with_words(7, 1.0), with_words(7, float("nan")), at_the_end_of_time(7), largest_sequence(), b"\xff\xff", b""],
    ids=["words for numbers", "words for NaN", "end of time", "largest sequence", "no protobuf", "empty"],
)
async def test_one_bad_batch_keeps_no_other_from_the_archive(
    bad: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    consumer, dead, clock, stopping = (
        FakeConsumer().install(monkeypatch),
        DeadLetters(),
        ManualClock(),
        asyncio.Event(),
    )
    for value in (good(0), good(1), bad, good(2), bad, good(3)):
        consumer.append(TP, value=value)
    objects = Objects(f"file://{tmp_path}")
    publisher: Any = dead
    stream = ArchiverStream("archiver", Archive(objects, "f", 3_600_000), publisher, clock, SETTINGS)
    task = asyncio.create_task(stream.run(stopping))
    await eventually(lambda: consumer.started)
    await consumer.join(TP)
    await eventually(lambda: consumer.positions[TP] == 6)
    for _ in range(4):  # each fault is found when its file is due
        clock.advance(SETTINGS.cut_after_s + 1)
        await asyncio.sleep(0.05)
    await eventually(lambda: consumer.commits != [] and consumer.commits[-1] == {TP: 6})
    stopping.set()
    await asyncio.wait_for(task, 5)
    archived = [found for address in list_files(objects, "f") for found in read_file(objects, address)]
    ours = [each.sequence for offset, each in archived if offset not in (2, 4)]
    assert ours == [0, 1, 2, 3]
    stored = [offset for offset, _ in archived if offset in (2, 4)]
    assert sorted({*stored, *(offset for offset, _ in dead.received)}) == [2, 4] or stored == [2], (
        "each bad batch is in the archive, a repeat of one that is, or in the dead-letter queue"
    )


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_the_first_batch_at_fault_is_found_wherever_it_is(faults: list[bool]) -> None:
    file = OpenFile(100, SeenBatches())
    for number, _ in enumerate(faults):
        file.add(Arrival(100 + number, 0, 1, batch(number)))
    tried: list[int] = []

    def encode(batches: list[tuple[int, FrameBatch]]) -> None:
        tried.append(len(batches))
        if any(faults[offset - 100] for offset, _ in batches):
            raise KeyError("Id")

    expected = 100 + faults.index(True) if any(faults) else None
    assert first_at_fault(file, encode) == expected  # type: ignore[arg-type]
    assert len(tried) <= 6
