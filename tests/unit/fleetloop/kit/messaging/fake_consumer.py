"""A consumer as aiokafka's looks to a reader: one log per partition in memory, with rebalances on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata, OffsetAndTimestamp


class FakeConsumer:
    """Holds messages, the position of each assigned partition, and what was committed."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.logs: dict[TopicPartition, list[SimpleNamespace]] = {}
        self.positions: dict[TopicPartition, int] = {}
        self.commits: list[dict[TopicPartition, int | OffsetAndMetadata]] = []
        self.commit_error: Exception | None = None
        self.started = self.stopped = False
        self.metadata_updates = 0
        self.metadata_known = True
        self._listener: Any = None
        state = SimpleNamespace(assignment=SimpleNamespace(state_value=self._state))
        self._subscription = SimpleNamespace(subscription=state)
        self._client = SimpleNamespace(force_metadata_update=self._update_metadata)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeConsumer:
        """Makes this the consumer that every reader constructs."""
        install({}, monkeypatch, otherwise=self)
        return self

    def append(
        self, partition: TopicPartition, number: int = 1, timestamp: int = 0, value: bytes = b"v", key: bytes = b"k"
    ) -> None:
        log = self.logs.setdefault(partition, [])
        for _ in range(number):
            log.append(
                SimpleNamespace(
                    topic=partition.topic, partition=partition.partition, offset=len(log), key=key, value=value,
                    headers=[], timestamp=timestamp,
                )
            )  # fmt: skip

    async def join(self, *partitions: TopicPartition, at: int = 0) -> None:
        """A rebalance that gives the consumer `partitions`, committed at `at`."""
        self.positions.update(dict.fromkeys(partitions, at))
        await self._listener.on_partitions_assigned(partitions)

    async def leave(self, *partitions: TopicPartition) -> None:
        """A rebalance that takes `partitions` away."""
        for partition in partitions:
            del self.positions[partition]
        await self._listener.on_partitions_revoked(partitions)

    async def start(self) -> None:
        self.started = True

    async def stop(self) -> None:
        self.stopped = True

    def subscribe(self, topics: Sequence[str], listener: object) -> None:
        self._listener = listener

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self.positions = dict.fromkeys(partitions, 0)

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.positions)

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        known = {partition.partition for partition in self.logs if partition.topic == topic}
        return known if known and self.metadata_known else None

    async def _update_metadata(self) -> None:
        self.metadata_updates += 1
        self.metadata_known = True

    def highwater(self, partition: TopicPartition) -> int:
        return len(self.logs.get(partition, []))

    def _state(self, partition: TopicPartition) -> SimpleNamespace | None:
        if partition not in self.positions:
            return None
        return SimpleNamespace(has_valid_position=True, position=self.positions[partition])

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    async def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        self.positions.update(dict.fromkeys(partitions, 0))

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {partition: self.highwater(partition) for partition in partitions}

    async def offsets_for_times(
        self, times: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        return {
            partition: next(
                (OffsetAndTimestamp(m.offset, m.timestamp) for m in self.logs[partition] if m.timestamp >= since_ms),
                None,
            )
            for partition, since_ms in times.items()
        }

    async def getmany(
        self, timeout_ms: int, max_records: int | None = None
    ) -> dict[TopicPartition, list[SimpleNamespace]]:
        await asyncio.sleep(0)
        found: dict[TopicPartition, list[SimpleNamespace]] = {}
        for partition, position in self.positions.items():
            messages = self.logs.get(partition, [])[position:][:max_records]
            found[partition] = messages
            self.positions[partition] = position + len(messages)
        return found

    async def commit(self, offsets: dict[TopicPartition, int | OffsetAndMetadata]) -> None:
        if self.commit_error is not None:
            raise self.commit_error
        self.commits.append(offsets)


def install(
    consumers: Mapping[str, FakeConsumer], monkeypatch: pytest.MonkeyPatch, otherwise: FakeConsumer | None = None
) -> None:
    """Makes readers construct these consumers, by the name that they give to the broker (`client_id`)."""

    def construct(**options: Any) -> FakeConsumer:
        consumer = consumers.get(options["client_id"], otherwise)
        assert consumer is not None, f"no consumer for {options['client_id']}"
        consumer.options = options
        return consumer

    monkeypatch.setattr("fleetloop.kit.messaging.partition_reader.AIOKafkaConsumer", construct)


async def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Returns once `condition` holds; fails when it does not hold `within_s`."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition does not hold"
        await asyncio.sleep(0.005)
