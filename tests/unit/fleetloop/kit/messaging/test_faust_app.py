"""The rules of an agent, and how a worker that stands still is found out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from faust.types.enums import ProcessingGuarantee
from prometheus_client import REGISTRY

from fleetloop.kit.messaging.faust_app import STALLED_AFTER_S, StreamWatch, build_app, handled, record_of
from fleetloop.kit.messaging.faust_order import OrderGuard
from fleetloop.kit.messaging.producer import Record, UnreadableMessageError
from fleetloop.kit.process.exit_codes import EXIT_BROKEN_DEPENDENCY
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.testing import ManualClock

TP = TopicPartition("fleet.x.v1", 2)
CHANGELOG = TopicPartition("x-changelog", 2)


class DeadLetterQueue:
    """A publisher of which only the dead-letter queue is used."""

    def __init__(self, broken: bool = False) -> None:
        self.messages: list[tuple[int, str]] = []
        self._broken = broken

    async def send_to_dlq(self, record: Record, error: Exception, attempts: int = 1) -> None:
        if self._broken:
            raise ConnectionError("Kafka is gone")
        self.messages.append((record.offset, str(error)))


class ProcessEndedError(BaseException):
    """Where os._exit would have ended the process."""


def event(headers: Any = None) -> Any:
    message = SimpleNamespace(
        topic=TP.topic, partition=2, offset=9, key=b"car", value=b"v", headers=headers, timestamp=1.25
    )
    acks: list[int] = []
    return SimpleNamespace(message=message, ack=lambda: acks.append(1), acks=acks)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise ProcessEndedError

    monkeypatch.setattr("fleetloop.kit.messaging.faust_app.os._exit", end)
    return codes


def in_order(committed: int = 9, there: int = 9) -> OrderGuard:
    """A guard that knows the committed offset, and the next message that the broker has."""

    async def next_message(partition: Any, offset: int) -> int:
        return there

    async def committed_offset(partition: Any) -> int:
        return committed

    return OrderGuard(committed_offset, next_message)


async def test_a_message_is_acknowledged_after_its_work(ended: list[int]) -> None:
    one = event()

    async def work(record: Record) -> str:
        assert one.acks == []
        return "handled"

    await handled(one, work, DeadLetterQueue(), "test-faust", in_order())
    assert (one.acks, ended) == ([1], [])
    labels = {"service": "test-faust", "topic": TP.topic, "outcome": "handled"}
    assert REGISTRY.get_sample_value("fleetloop_messages_total", labels) == 1


async def test_what_cannot_be_read_goes_to_the_dead_letter_queue_and_is_acknowledged(ended: list[int]) -> None:
    one, queue = event(), DeadLetterQueue()

    async def work(record: Record) -> str:
        raise UnreadableMessageError("no protobuf")

    await handled(one, work, queue, "test-faust", in_order())
    assert (queue.messages, one.acks, ended) == ([(9, "no protobuf")], [1], [])


@pytest.mark.parametrize("broken", [False, True])
async def test_a_broken_dependency_ends_the_process_and_acknowledges_nothing(ended: list[int], broken: bool) -> None:
    """Faust would acknowledge the message of an agent that raises, and commit past one that is left out."""
    one = event()

    async def work(record: Record) -> str:
        raise UnreadableMessageError("no protobuf") if broken else ConnectionError("the database is gone")

    with pytest.raises(ProcessEndedError):
        await handled(one, work, DeadLetterQueue(broken), "test-faust", in_order())
    assert (one.acks, ended) == ([], [EXIT_BROKEN_DEPENDENCY])


async def test_a_message_that_follows_one_passed_over_ends_the_process_without_any_effect(ended: list[int]) -> None:
    one = event()

    async def work(record: Record) -> str:
        raise AssertionError("it must not take effect")

    with pytest.raises(ProcessEndedError):
        await handled(one, work, DeadLetterQueue(), "test-faust", in_order(committed=7, there=7))
    assert (one.acks, ended) == ([], [EXIT_BROKEN_DEPENDENCY])


@pytest.mark.parametrize("headers", [[("ce_id", b"e")], {"ce_id": b"e"}])
async def test_a_message_is_the_same_record_however_its_headers_are_held(headers: Any) -> None:
    assert record_of(event(headers)) == Record(TP.topic, 2, 9, b"car", b"v", [("ce_id", b"e")], 1250)
    assert record_of(event(None)).headers == []


class App:
    """A worker as the watch sees it: one partition, its end, and what is committed of it."""

    def __init__(self) -> None:
        self.rebalancing = False
        self.tables = SimpleNamespace(actives_ready=True, changelog_topics={CHANGELOG.topic})
        self.end: int | None = 10
        self.done: int | None = 10
        self.partitions = {TP, CHANGELOG}
        self.broker_end, self.broker_start = 0, 0
        self.broker_error: Exception | None = None
        self.consumer = SimpleNamespace(
            assignment=lambda: self.partitions,
            highwater=lambda partition: self.end,
            highwaters=self._highwaters,
            earliest_offsets=self._earliest_offsets,
            _committed_offset=self,
        )

    def get(self, partition: TopicPartition) -> int | None:
        return self.done

    async def _highwaters(self, *partitions: TopicPartition) -> dict[TopicPartition, int]:
        if self.broker_error is not None:
            raise self.broker_error
        return dict.fromkeys(partitions, self.broker_end)

    async def _earliest_offsets(self, *partitions: TopicPartition) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.broker_start)


@pytest.fixture
def watched() -> tuple[App, StreamWatch, ManualClock]:
    app, clock = App(), ManualClock()
    return app, StreamWatch("test-watch", app, 60.0, clock), clock  # type: ignore[arg-type]


async def test_a_worker_with_nothing_to_do_is_never_stuck(watched: tuple[App, StreamWatch, ManualClock]) -> None:
    _, watch, clock = watched
    for _ in range(5):
        clock.advance(100)
        await watch.observe()
        assert (watch.problem(), watch.stall()) == (None, None)
    assert watch.assigned


async def test_messages_that_wait_without_a_commit_are_a_stall_and_then_a_problem(
    watched: tuple[App, StreamWatch, ManualClock],
) -> None:
    app, watch, clock = watched
    await watch.observe()
    app.end = 13
    clock.advance(1)
    await watch.observe()
    clock.advance(STALLED_AFTER_S)
    await watch.observe()
    assert watch.stall() == "3 messages behind and no commit for 13 s"
    assert watch.problem() is None
    lag = {"service": "test-watch", "topic": TP.topic, "partition": "2"}
    assert REGISTRY.get_sample_value("fleetloop_consumer_lag_messages", lag) == 3
    dead = {"service": "test-watch", "topic": TP.topic, "reason": "unreadable"}
    assert REGISTRY.get_sample_value("fleetloop_dead_letters_total", dead) == 0
    clock.advance(50)
    assert watch.problem() == "3 messages behind and no commit for 63 s"
    app.done = 11  # it goes on, if slowly
    await watch.observe()
    assert (watch.problem(), watch.stall()) == (None, None)


@pytest.mark.parametrize("busy", ["rebalancing", "restoring"])
async def test_restoring_tables_and_rebalancing_are_no_stall(
    watched: tuple[App, StreamWatch, ManualClock], busy: str
) -> None:
    app, watch, clock = watched
    await watch.observe()
    app.end = 13
    app.rebalancing, app.tables.actives_ready = busy == "rebalancing", busy != "restoring"
    for _ in range(4):
        clock.advance(10)
        await watch.observe()
        assert watch.stall() is None
    app.rebalancing, app.tables.actives_ready = False, True
    clock.advance(STALLED_AFTER_S - 1)
    await watch.observe()
    assert watch.stall() is None, "counted from the end of it"
    clock.advance(2)
    assert watch.stall() is not None


async def test_a_worker_that_fetched_nothing_since_its_start_stalls_too(
    watched: tuple[App, StreamWatch, ManualClock],
) -> None:
    """Faust knows the end of a partition only after its first fetch."""
    app, watch, clock = watched
    app.end, app.broker_end = None, 13
    await watch.observe()
    clock.advance(STALLED_AFTER_S + 1)
    await watch.observe()
    assert watch.stall() == "3 messages behind and no commit for 13 s"


async def test_a_partition_of_which_nothing_was_committed_is_behind_from_its_beginning(
    watched: tuple[App, StreamWatch, ManualClock],
) -> None:
    app, watch, clock = watched
    app.done, app.broker_start = None, 4
    await watch.observe()
    clock.advance(STALLED_AFTER_S + 1)
    await watch.observe()
    assert watch.stall() == "6 messages behind and no commit for 13 s"


@pytest.mark.parametrize("error", [TimeoutError(), KafkaConnectionError("gone")])
async def test_an_unknown_end_is_neither_progress_nor_a_stall(
    watched: tuple[App, StreamWatch, ManualClock], error: Exception
) -> None:
    app, watch, clock = watched
    await watch.observe()
    app.end, app.broker_error = None, error
    for _ in range(5):
        clock.advance(STALLED_AFTER_S)
        await watch.observe()
        assert (watch.problem(), watch.stall()) == (None, None)
    app.broker_error, app.broker_end = None, 13
    await watch.observe()
    assert watch.stall() is not None, "the time that nothing was known of was no progress"


async def test_a_worker_without_partitions_is_not_ready(watched: tuple[App, StreamWatch, ManualClock]) -> None:
    app, watch, _ = watched
    app.partitions = set()
    await watch.observe()
    assert not watch.assigned


def test_an_app_has_the_settings_that_were_found_to_be_safe(tmp_path: Path) -> None:
    settings = ServiceSettings(kafka_bootstrap_servers="one:1,two:2", state_dir=tmp_path)
    config: Any = build_app("test-app", settings).conf
    assert config.id == "test-app"
    assert [str(url) for url in config.broker] == ["aiokafka://one:1", "aiokafka://two:2"]
    assert config.processing_guarantee is ProcessingGuarantee.AT_LEAST_ONCE
    assert (config.topic_allow_declare, config.web_enabled, config.topic_disable_leader) == (False, False, True)
    assert (config.producer_acks, config.consumer_auto_offset_reset) == (-1, "earliest")
    assert config.broker_credentials is None
