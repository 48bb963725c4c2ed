"""Each rule of the contract in the module's text, against a consumer in memory."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata
from prometheus_client import REGISTRY
from tests.unit.fleetloop.kit.messaging.fake_consumer import FakeConsumer

from fleetloop.kit.messaging import partition_reader
from fleetloop.kit.messaging.partition_reader import GroupReader, TopicReader
from fleetloop.kit.messaging.producer import Record
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.testing import ManualClock

TOPIC = "fleet.x.v1"
ONE, TWO = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
SETTINGS = ServiceSettings(kafka_bootstrap_servers="nowhere:1", stuck_after_s=60)
LOST = [CommitFailedError("x"), IllegalStateError("x"), RebalanceInProgressError("x"), UnknownMemberIdError("x")]


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> FakeConsumer:
    return FakeConsumer().install(monkeypatch)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def value(metric: str, service: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"fleetloop_{metric}", {"service": service, **labels})


def lag(service: str, partition: TopicPartition = ONE) -> float | None:
    return value("consumer_lag_messages", service, topic=partition.topic, partition=str(partition.partition))


async def test_what_poll_returns_are_records(consumer: FakeConsumer, clock: ManualClock) -> None:
    consumer.append(ONE, 2, timestamp=7)
    async with GroupReader("records", [TOPIC], SETTINGS, clock) as reader:
        assert await reader.poll() == {}
        await consumer.join(ONE, TWO)
        records = (await reader.poll(max_records=1))[ONE]
        assert records == [Record(TOPIC, 0, 0, b"k", b"v", [], 7)]
        assert reader.assignment() == {ONE, TWO}
    assert consumer.stopped


async def test_a_member_of_a_group_never_commits_on_its_own_and_waits_for_no_transaction(
    consumer: FakeConsumer, clock: ManualClock
) -> None:
    settings = ServiceSettings(kafka_bootstrap_servers="nowhere:1", instance_id="x-0")
    GroupReader("options", [TOPIC], settings, clock)
    assert consumer.options["group_id"] == consumer.options["client_id"] == "options"
    assert consumer.options["group_instance_id"] == "x-0"
    assert consumer.options["enable_auto_commit"] is False
    assert consumer.options["auto_offset_reset"] == "earliest"
    assert consumer.options["isolation_level"] == "read_uncommitted", "an open transaction holds no one up"


async def test_what_is_in_hand_counts_as_lag_until_it_is_committed(
    consumer: FakeConsumer, clock: ManualClock
) -> None:
    consumer.append(ONE, 3)
    async with GroupReader("in-hand", [TOPIC], SETTINGS, clock) as reader:
        await consumer.join(ONE)
        await reader.poll(max_records=2)
        assert lag("in-hand") == 3
        assert await reader.commit({ONE: 2})
        assert (lag("in-hand"), consumer.commits) == (1, [{ONE: 2}])
        await reader.poll()
        assert lag("in-hand") == 1
        assert await reader.commit({ONE: 3})
        assert lag("in-hand") == 0


async def test_a_reader_that_hangs_on_its_last_record_is_stuck(consumer: FakeConsumer, clock: ManualClock) -> None:
    consumer.append(ONE)
    async with GroupReader("hangs", [TOPIC], SETTINGS, clock) as reader:
        await consumer.join(ONE)
        await reader.poll()
        clock.advance(60)
        assert reader.problem() is None
        clock.advance(1)
        assert reader.problem() == "1 messages behind and no commit for 61 s"


async def test_a_reader_without_work_is_never_stuck(consumer: FakeConsumer, clock: ManualClock) -> None:
    async with GroupReader("idle", [TOPIC], SETTINGS, clock) as reader:
        await consumer.join(ONE)
        for _ in range(3):
            clock.advance(3600)
            await reader.poll()
            assert reader.problem() is None
        consumer.append(ONE)
        await reader.poll()
        assert reader.problem() is None, "the time without work is no time without progress"


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
async def test_a_commit_that_a_rebalance_lost_is_no_progress(
    consumer: FakeConsumer, clock: ManualClock, error: Exception
) -> None:
    consumer.append(ONE, 2)
    service = f"lost-{type(error).__name__}"
    async with GroupReader(service, [TOPIC], SETTINGS, clock) as reader:
        await consumer.join(ONE)
        await reader.poll()
        began_s = value("consumer_last_commit_timestamp_seconds", service)
        clock.advance(61)
        consumer.commit_error = error
        assert await reader.commit({ONE: 2}) is False
        assert reader.problem() == "2 messages behind and no commit for 61 s"
        assert value("consumer_last_commit_timestamp_seconds", service) == began_s
        consumer.commit_error = None
        assert await reader.commit({ONE: 2}) is True
        assert reader.problem() is None
        assert value("consumer_last_commit_timestamp_seconds", service) == clock.utc_ns / 1e9


async def test_an_error_that_is_no_rebalance_ends_the_process(consumer: FakeConsumer, clock: ManualClock) -> None:
    async with GroupReader("refused", [TOPIC], SETTINGS, clock) as reader:
        await consumer.join(ONE)
        consumer.commit_error = KafkaError("the broker refuses")
        with pytest.raises(KafkaError, match="the broker refuses"):
            await reader.commit({ONE: 2})


async def test_a_commit_of_nothing_is_no_request_and_no_progress(consumer: FakeConsumer, clock: ManualClock) -> None:
    consumer.append(ONE)
    async with GroupReader("nothing", [TOPIC], SETTINGS, clock) as reader:
        await consumer.join(ONE)
        await reader.poll()
        clock.advance(61)
        assert await reader.commit({})
        assert (consumer.commits, reader.problem() is None) == ([], False)


async def test_a_commit_may_carry_metadata(consumer: FakeConsumer, clock: ManualClock) -> None:
    async with GroupReader("metadata", [TOPIC], SETTINGS, clock) as reader:
        await consumer.join(ONE)
        await reader.commit({ONE: OffsetAndMetadata(5, "1700")})
    assert consumer.commits == [{ONE: OffsetAndMetadata(5, "1700")}]


async def test_lag_counts_from_the_durable_position_of_a_caller_that_has_one(
    consumer: FakeConsumer, clock: ManualClock
) -> None:
    consumer.append(ONE, 10)
    consumer.append(TWO, 10)
    durable: dict[TopicPartition, int] = {ONE: 3}
    async with GroupReader("durable", [TOPIC], SETTINGS, clock, durable=durable.get) as reader:
        await consumer.join(ONE, TWO, at=8)
        await reader.poll()
        assert (lag("durable", ONE), lag("durable", TWO)) == (7, 2), "the caller does not know the second one yet"
        await reader.commit({ONE: 10, TWO: 10})
        assert (lag("durable", ONE), lag("durable", TWO)) == (7, 0), "a commit by itself makes nothing durable"
        durable[ONE] = 10
        await reader.poll()
        assert lag("durable", ONE) == 0


async def test_work_that_needs_no_commit_is_progress_when_the_caller_says_so(
    consumer: FakeConsumer, clock: ManualClock
) -> None:
    consumer.append(ONE, 10)
    async with GroupReader("replay", [TOPIC], SETTINGS, clock, durable={ONE: 5}.get) as reader:
        await consumer.join(ONE)
        await reader.poll()
        clock.advance(61)
        assert reader.problem() is not None
        reader.mark_progress()
        assert reader.problem() is None


async def test_a_partition_that_went_to_another_member_is_no_lag_of_this_one(
    consumer: FakeConsumer, clock: ManualClock
) -> None:
    consumer.append(ONE, 3)
    async with GroupReader("revoked", [TOPIC], SETTINGS, clock) as reader:
        await consumer.join(ONE)
        await reader.poll()
        assert lag("revoked") == 3
        await consumer.leave(ONE)
        assert lag("revoked") == 0
        await consumer.join(ONE, at=3)
        await reader.poll()
        assert lag("revoked") == 0, "what was in hand before is another member's work"


class Listener:
    def __init__(self, failure: Exception | None = None) -> None:
        self.calls: list[tuple[str, set[TopicPartition]]] = []
        self._failure = failure

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self.calls.append(("assigned", set(assigned)))
        if self._failure is not None:
            raise self._failure

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.calls.append(("revoked", set(revoked)))
        if self._failure is not None:
            raise self._failure


async def test_the_listener_hears_of_every_rebalance(consumer: FakeConsumer, clock: ManualClock) -> None:
    listener = Listener()
    async with GroupReader("listens", [TOPIC], SETTINGS, clock, listener=listener):
        await consumer.join(ONE, TWO)
        await consumer.leave(TWO)
    assert listener.calls == [("assigned", {ONE, TWO}), ("revoked", {TWO})]


@pytest.mark.parametrize("rebalance", ["assigned", "revoked"])
async def test_what_a_listener_raises_ends_the_reading(
    consumer: FakeConsumer, clock: ManualClock, rebalance: str
) -> None:
    """aiokafka logs it, and would read on."""
    consumer.append(ONE)
    listener = Listener(ConnectionError("storage is gone"))
    async with GroupReader("fails", [TOPIC], SETTINGS, clock, listener=listener) as reader:
        consumer.positions[ONE] = 0
        await (consumer.join(ONE) if rebalance == "assigned" else consumer.leave(ONE))
        with pytest.raises(ConnectionError, match="storage is gone"):
            await reader.poll()


async def test_events_age_is_observed_once_for_the_first_and_the_last_of_a_poll(
    consumer: FakeConsumer, clock: ManualClock
) -> None:
    async with GroupReader("age", [TOPIC], SETTINGS, clock) as reader:
        await consumer.join(ONE)
        consumer.append(ONE, 1, timestamp=clock.utc_ns // 1_000_000 - 4000)
        await reader.poll()
        consumer.append(ONE, 3, timestamp=clock.utc_ns // 1_000_000 - 2000)
        await reader.poll()
    assert value("event_age_seconds_count", "age", topic=TOPIC) == 3
    assert value("event_age_seconds_sum", "age", topic=TOPIC) == 8


async def test_a_group_is_asked_for_its_committed_offset_and_metadata(
    consumer: FakeConsumer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[TopicPartition, OffsetAndMetadata] = {}
    closed: list[bool] = []

    async def nothing() -> None: ...

    async def close() -> None:
        closed.append(True)

    async def offsets_of(group: str, partitions: list[TopicPartition]) -> Any:
        assert (group, partitions) == ("asks", [ONE])
        return found

    admin = SimpleNamespace(start=nothing, close=close, list_consumer_group_offsets=offsets_of)
    monkeypatch.setattr(partition_reader, "AIOKafkaAdminClient", lambda **_: admin)
    reader = GroupReader("asks", [TOPIC], SETTINGS, clock)
    assert await reader.committed(ONE) is None
    found[ONE] = OffsetAndMetadata(-1, "")
    assert await reader.committed(ONE) is None, "Kafka's way to say that there is none"
    found[ONE] = OffsetAndMetadata(4, "1700")
    assert await reader.committed(ONE) == OffsetAndMetadata(4, "1700")
    assert len(closed) == 3


async def test_a_partition_is_sought_by_time_and_by_its_bounds(consumer: FakeConsumer, clock: ManualClock) -> None:
    consumer.append(ONE, 2, timestamp=100)
    consumer.append(ONE, 2, timestamp=200)
    async with GroupReader("seeks", [TOPIC], SETTINGS, clock) as reader:
        await consumer.join(ONE, at=4)
        assert (await reader.bounds(ONE), await reader.offset_at(ONE, 150)) == ((0, 4), 2)
        assert await reader.offset_at(ONE, 201) is None
        reader.seek(ONE, 3)
        assert [record.offset for record in (await reader.poll())[ONE]] == [3]
        await reader.seek_to_beginning(ONE)
        assert len((await reader.poll())[ONE]) == 4


@pytest.mark.parametrize("reader", [GroupReader, TopicReader])
async def test_the_counter_of_dead_letters_exists_before_the_first_one(
    consumer: FakeConsumer, clock: ManualClock, reader: Any
) -> None:
    service = f"counts-{reader.__name__}"
    more = {"name": "all"} if reader is TopicReader else {}
    reader(service, [TOPIC, "fleet.y.v1"], SETTINGS, clock, **more)
    for topic in (TOPIC, "fleet.y.v1"):
        assert value("dead_letters_total", service, topic=topic, reason="too_large") == 0


async def test_only_a_member_of_a_group_has_a_last_commit_and_it_counts_from_the_start(
    consumer: FakeConsumer, clock: ManualClock
) -> None:
    GroupReader("commits", [TOPIC], SETTINGS, clock)
    TopicReader("reads", [TOPIC], SETTINGS, clock, name="all")
    assert value("consumer_last_commit_timestamp_seconds", "commits") == clock.utc_ns / 1e9
    assert value("consumer_last_commit_timestamp_seconds", "reads") is None


async def test_a_topic_is_read_from_its_beginning_to_where_it_ended_and_then_on(
    consumer: FakeConsumer, clock: ManualClock
) -> None:
    consumer.append(ONE, 3)
    consumer.append(TWO, 1)
    async with TopicReader("whole", [TOPIC], SETTINGS, clock, name="all") as reader:
        assert not reader.caught_up()
        consumer.append(ONE)
        seen = [(record.partition, record.offset) async for record in reader.read_to_end()]
        assert reader.caught_up()
        consumer.append(TWO)
        seen += [
            (record.partition, record.offset) for records in (await reader.poll()).values() for record in records
        ]
    assert set(seen) == {(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)} and len(seen) == 6
    assert (consumer.options["group_id"], consumer.options["client_id"]) == (None, "whole-all")
    assert "group_instance_id" not in consumer.options
    assert consumer.commits == []


async def test_an_empty_topic_is_read_to_its_end_at_once(consumer: FakeConsumer, clock: ManualClock) -> None:
    consumer.append(ONE, 0)
    async with TopicReader("empty", [TOPIC], SETTINGS, clock, name="all") as reader:
        assert reader.caught_up()
        assert [record async for record in reader.read_to_end()] == []


async def test_a_topic_is_read_from_its_horizon(consumer: FakeConsumer, clock: ManualClock) -> None:
    now_ms = clock.utc_ns // 1_000_000
    consumer.append(ONE, 2, timestamp=now_ms - 11_000)
    consumer.append(ONE, 1, timestamp=now_ms - 9_000)
    consumer.append(TWO, 2, timestamp=now_ms - 11_000)
    async with TopicReader("horizon", [TOPIC], SETTINGS, clock, name="all", horizon_s=10) as reader:
        assert [(record.partition, record.offset) async for record in reader.read_to_end()] == [(0, 2)]
        assert consumer.positions == {ONE: 3, TWO: 2}


async def test_what_a_topic_reader_returned_counts_as_handled_at_its_next_poll(
    consumer: FakeConsumer, clock: ManualClock
) -> None:
    consumer.append(ONE, 2)
    async with TopicReader("feed", [TOPIC], SETTINGS, clock, name="all") as reader:
        clock.advance(3600)
        await reader.poll()
        assert (lag("feed"), reader.problem()) == (2, None)
        clock.advance(61)
        assert reader.problem() == "2 messages behind and no commit for 61 s", "the caller hangs"
        await reader.poll()
        assert (lag("feed"), reader.problem()) == (0, None)


async def test_a_topic_that_is_unknown_is_looked_up_before_it_counts_as_missing(
    consumer: FakeConsumer, clock: ManualClock
) -> None:
    consumer.append(ONE)
    consumer.metadata_known = False
    async with TopicReader("unknown", [TOPIC], SETTINGS, clock, name="all") as reader:
        assert reader.assignment() == {ONE}
    assert consumer.metadata_updates == 1


async def test_a_topic_that_does_not_exist_is_named_with_the_remedy(
    consumer: FakeConsumer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_reader, "POLL_S", 0)
    with pytest.raises(KafkaError, match=r"the topic fleet.x.v1 does not exist: create the topics"):
        async with TopicReader("missing", [TOPIC], SETTINGS, clock, name="all"):
            pass
    assert consumer.stopped
