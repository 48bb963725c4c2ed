"""The consumer loop of every aiokafka service: poll, handle, and only then commit.

`handle` must return only when everything that follows from the records is durable. It may be given a record
again after a crash or a rebalance, so it ignores what it knows. Its exception is not caught: the process ends,
nothing is committed, and the supervisor starts it anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from fleetloop.kit.messaging.events import event_time_ns_of
from fleetloop.kit.messaging.producer import Record, connection_options
from fleetloop.kit.process.clock import Clock, ns_to_seconds
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import CONSUMER_LAG, DEAD_LETTERS, EVENT_AGE, LAST_COMMIT
from fleetloop.kit.process.settings import ServiceSettings

log = get_logger(__name__)
Handler = Callable[[Sequence[Record]], Awaitable[None]]


class ConsumerLoop:
    """Reads `topics` in a group and hands every poll to `handle`, in the order of each partition."""

    def __init__(
        self,
        service: str,
        topics: Sequence[str],
        handle: Handler,
        settings: ServiceSettings,
        clock: Clock,
        *,
        group: str | None = None,
        max_records: int = 500,
        poll_timeout_s: float = 0.2,
        listener: ConsumerRebalanceListener | None = None,
    ) -> None:
        self._service = service
        self._topics = list(topics)
        self._handle = handle
        self._clock = clock
        self._stuck_after_s = settings.stuck_after_s
        self._max_records = max_records
        self._poll_timeout_ms = round(poll_timeout_s * 1000)
        self._listener = listener
        self._last_progress_ns = clock.monotonic_ns()
        self._lag = 0
        self.ready = asyncio.Event()
        LAST_COMMIT.labels(service).set(
            ns_to_seconds(clock.now_utc_ns())
        )  # counted from the start until there is one
        for topic in self._topics:
            DEAD_LETTERS.labels(service, topic)  # from 0, or the first one would be no increase
        self.consumer = AIOKafkaConsumer(
            **connection_options(settings),
            group_id=group or service,
            group_instance_id=settings.instance_id or None,
            client_id=service,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=2 * 1024 * 1024,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
            max_poll_interval_ms=300_000,
        )

    def problem(self) -> str | None:
        """Why this consumer counts as stuck, or None. A stuck consumer is a dead one."""
        idle_s = ns_to_seconds(self._clock.monotonic_ns() - self._last_progress_ns)
        if self._lag > 0 and idle_s > self._stuck_after_s:
            return f"{self._lag} messages behind and no commit for {idle_s:.0f} s"
        return None

    async def run(self, stopping: asyncio.Event) -> None:
        """Runs until `stopping`; what was handled is committed before it returns."""
        await self.consumer.start()
        try:
            self.consumer.subscribe(self._topics, listener=self._listener)
            while not stopping.is_set():
                polled = await self.consumer.getmany(timeout_ms=self._poll_timeout_ms, max_records=self._max_records)
                if self.consumer.assignment():
                    self.ready.set()
                records = [
                    Record(m.topic, m.partition, m.offset, m.key, m.value or b"", m.headers, m.timestamp)
                    for messages in polled.values()
                    for m in messages
                ]
                if records:
                    self._observe_age(records)
                    # What is in hand counts as lag, or a consumer that hangs on it would look as if it had no work.
                    self._observe_lag({tp: messages[0].offset for tp, messages in polled.items() if messages})
                    await self._handle(records)
                    await self._commit({tp: messages[-1].offset + 1 for tp, messages in polled.items() if messages})
                self._observe_lag({})
        finally:
            await self.consumer.stop()

    async def _commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        try:
            await self.consumer.commit(dict(offsets))
        except (CommitFailedError, IllegalStateError) as error:
            # The partitions went to somebody else meanwhile. They will read these records again and know them.
            log.warning("commit_lost_to_rebalance", error=str(error))
        self._last_progress_ns = self._clock.monotonic_ns()
        LAST_COMMIT.labels(self._service).set(ns_to_seconds(self._clock.now_utc_ns()))

    def _observe_age(self, records: Sequence[Record]) -> None:
        now_ns = self._clock.now_utc_ns()
        for record in (records[0], records[-1]):
            time_ns = event_time_ns_of(record.headers) or record.appended_ms * 1_000_000
            EVENT_AGE.labels(self._service, record.topic).observe(max(0.0, ns_to_seconds(now_ns - time_ns)))

    def _observe_lag(self, in_hand: Mapping[TopicPartition, int]) -> None:
        """`in_hand` is the first offset of each partition that is being handled."""
        lag = 0
        for partition in self.consumer.assignment():
            end = self.consumer.highwater(partition)
            position = self.consumer._subscription.subscription.assignment.state_value(partition)
            if end is None or position is None or not position.has_valid_position:
                continue
            behind = max(0, end - in_hand.get(partition, position.position))
            lag += behind
            CONSUMER_LAG.labels(self._service, partition.topic, str(partition.partition)).set(behind)
        self._lag = lag
        if lag == 0:
            self._last_progress_ns = self._clock.monotonic_ns()


async def read_to_end(
    topics: Sequence[str], settings: ServiceSettings, handle: Callable[[Record], None], client_id: str
) -> AIOKafkaConsumer:
    """Reads topics without a group from their beginning to where they end now, then returns the consumer.

    For state that a service keeps from a compacted topic: after this the caller goes on with `getmany`. The
    caller stops the consumer. Raises KafkaError when the broker cannot be reached.
    """
    consumer = AIOKafkaConsumer(
        **connection_options(settings),
        group_id=None,
        client_id=client_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        partitions = []
        for topic in topics:
            known = consumer.partitions_for_topic(topic) or await _partitions_of(consumer, topic)
            partitions += [TopicPartition(topic, number) for number in known]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            for messages in (await consumer.getmany(timeout_ms=200)).values():
                for m in messages:
                    handle(Record(m.topic, m.partition, m.offset, m.key, m.value or b"", m.headers, m.timestamp))
    except BaseException:
        await consumer.stop()
        raise
    return consumer


async def _partitions_of(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.force_metadata_update()
    partitions: set[int] | None = consumer.partitions_for_topic(topic)
    if not partitions:
        raise KafkaError(f"the topic {topic} does not exist: create the topics of protos/topics.yaml first")
    return partitions
