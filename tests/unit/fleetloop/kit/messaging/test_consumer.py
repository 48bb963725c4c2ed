from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, RebalanceInProgressError, UnknownMemberIdError
from prometheus_client import REGISTRY

from fleetloop.kit.messaging.consumer import ConsumerLoop
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.testing import ManualClock

TP = TopicPartition("fleet.x.v1", 0)


class Partition:
    """One assigned partition as aiokafka's consumer shows it, with messages that are polled `at_once`."""

    def __init__(self, messages: int, at_once: int) -> None:
        self.position, self.end, self._at_once = 0, messages, at_once
        self.commits: list[int] = []
        place = SimpleNamespace(has_valid_position=True)
        assignment = SimpleNamespace(state_value=lambda tp: place)
        self._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
        self._place = place
        place.position = 0

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def subscribe(self, topics: Sequence[str], listener: object) -> None: ...

    def assignment(self) -> set[TopicPartition]:
        return {TP}

    def highwater(self, partition: TopicPartition) -> int:
        return self.end

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[SimpleNamespace]]:
        await asyncio.sleep(0)
        offsets = range(self._place.position, min(self._place.position + self._at_once, self.end))
        self._place.position += len(offsets)
        one = {"topic": TP.topic, "partition": 0, "key": b"k", "value": b"v", "headers": [], "timestamp": 0}
        return {TP: [SimpleNamespace(offset=offset, **one) for offset in offsets]} if offsets else {}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.commits.append(offsets[TP])


def loop_over(
    partition: Partition, handle: object, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, name: str
) -> ConsumerLoop:
    monkeypatch.setattr("fleetloop.kit.messaging.partition_reader.AIOKafkaConsumer", lambda **_options: partition)
    settings = ServiceSettings(kafka_bootstrap_servers="nowhere:1", stuck_after_s=60)
    return ConsumerLoop(name, [TP.topic], handle, settings, clock)  # type: ignore[arg-type]


async def test_a_consumer_that_hangs_on_the_last_message_counts_as_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stopping, in_hand = ManualClock(), asyncio.Event(), asyncio.Event()

    async def hang(records: Sequence[Record]) -> None:
        in_hand.set()
        await asyncio.sleep(3600)

    loop = loop_over(Partition(messages=1, at_once=10), hang, clock, monkeypatch, "hanging")
    task = asyncio.create_task(loop.run(stopping))
    await asyncio.wait_for(in_hand.wait(), 5)
    clock.advance(59)
    assert loop.problem() is None
    clock.advance(2)
    assert loop.problem() == "1 messages behind and no commit for 61 s"
    lag = {"service": "hanging", "topic": TP.topic, "partition": "0"}
    assert REGISTRY.get_sample_value("fleetloop_consumer_lag_messages", lag) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_consumer_that_commits_is_never_stuck_and_commits_what_it_handled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, stopping = ManualClock(), asyncio.Event()
    partition = Partition(messages=7, at_once=3)
    committed_before: list[int] = []

    async def handle(records: Sequence[Record]) -> None:
        committed_before.append(partition.commits[-1] if partition.commits else 0)
        assert committed_before[-1] == records[0].offset
        clock.advance(50)
        assert loop.problem() is None
        if records[-1].offset == 6:
            stopping.set()

    loop = loop_over(partition, handle, clock, monkeypatch, "steady")
    await asyncio.wait_for(loop.run(stopping), 5)
    assert (committed_before, partition.commits) == ([0, 3, 6], [3, 6, 7])
    clock.advance(3600)
    assert loop.problem() is None


async def test_alerts_see_a_consumer_that_never_committed_and_its_first_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ManualClock()
    loop_over(Partition(0, 1), None, clock, monkeypatch, "new")
    last = REGISTRY.get_sample_value("fleetloop_consumer_last_commit_timestamp_seconds", {"service": "new"})
    assert last == clock.utc_ns / 1e9
    dead = {"service": "new", "topic": TP.topic, "reason": "failed"}
    assert REGISTRY.get_sample_value("fleetloop_dead_letters_total", dead) == 0


async def test_what_was_not_handled_is_not_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    partition = Partition(messages=7, at_once=3)

    async def handle(records: Sequence[Record]) -> None:
        if records[0].offset == 3:
            raise ConnectionError("the database is gone")

    loop = loop_over(partition, handle, ManualClock(), monkeypatch, "broken")
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(loop.run(asyncio.Event()), 5)
    assert partition.commits == [3]


@pytest.mark.parametrize(
    "error_type", [CommitFailedError, IllegalStateError, RebalanceInProgressError, UnknownMemberIdError]
)
async def test_partitions_that_went_to_another_are_no_reason_to_die(
    monkeypatch: pytest.MonkeyPatch, error_type: type[Exception]
) -> None:
    partition, stopping = Partition(messages=4, at_once=2), asyncio.Event()
    seen: list[int] = []

    async def lost(offsets: Mapping[TopicPartition, int]) -> None:
        if offsets[TP] == 2:
            raise error_type("x")
        partition.commits.append(offsets[TP])

    async def handle(records: Sequence[Record]) -> None:
        seen.extend(record.offset for record in records)
        if records[-1].offset == 3:
            stopping.set()

    monkeypatch.setattr(partition, "commit", lost)
    loop = loop_over(partition, handle, ManualClock(), monkeypatch, "rebalanced")
    await asyncio.wait_for(loop.run(stopping), 5)
    assert (seen, partition.commits) == ([0, 1, 2, 3], [4])
    assert loop.ready.is_set()


async def test_what_is_in_hand_when_the_process_stops_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    partition, stopping = Partition(messages=6, at_once=2), asyncio.Event()

    async def handle(records: Sequence[Record]) -> None:
        stopping.set()

    await loop_over(partition, handle, ManualClock(), monkeypatch, "stopping").run(stopping)
    assert partition.commits == [2], "and nothing more is taken"
