"""The one way in which services read Kafka with aiokafka.

Every consumer is one of two readers. A `GroupReader` reads topics as a member of a consumer group, shares their
partitions with the other members, and commits offsets. A `TopicReader` reads all partitions of its topics without a
group, for state that a process builds in memory at every start. (Services that use Faust have
`fleetloop.kit.messaging.faust_app` instead.)

The contract between a reader and its caller:

**At least once.** A reader never commits on its own. The caller commits an offset only after everything that follows
from the records before it is durable: acknowledged by Kafka, or in the caller's database. Records come again after a
crash or a rebalance, so the caller recognises repeats. The position in the log belongs to the reader and the durable
position to the caller; what lies between the two is read again by the next owner.

**Lag** is the number of messages between the end of a partition and its durable position. It includes what the caller
has in hand, because a consumer that hangs on the last record would otherwise look idle. By default the durable
position is the offset of the first record that `poll` has returned since the last commit, or the reader's position
when there is none. A caller that keeps records for longer than one commit, reads ahead or replays passes the function
`durable`.

**Progress** is made when a commit succeeds, when the lag is 0, and when the caller reports work that ends in no
commit (`mark_progress`), such as a replay. A commit that was lost to a rebalance is no progress: the same work will
be done again, and a group that only ever rebalances is stuck.

**Stuck.** `problem` is a liveness check. It fails when the lag is above 0 and no progress was made for the setting
`stuck_after_s`; the process is then restarted. A reader that waits for new records is never stuck.

**Lost commits.** Four errors mean that the group is rebalancing or that the partition has another owner already.
`commit` logs them and returns False. The records come again, to this process or to another. Any other error is raised
and ends the process, which a supervisor restarts.

**Rebalances.** aiokafka logs an exception of a rebalance listener and reads on without what the listener failed to
do. A reader keeps the exception instead and raises it from the next `poll`, so that the process ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, Self

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata

from fleetloop.kit.messaging.producer import Record, connection_options, record_of_message
from fleetloop.kit.messaging.progress import ConsumerProgress
from fleetloop.kit.messaging.undecodable import install as pass_over_undecodable
from fleetloop.kit.process.clock import Clock, ns_to_ms, seconds_to_ms, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.settings import ServiceSettings

log = get_logger(__name__)
POLL_S = 0.2
FETCH_BYTES = 2 * 1024 * 1024
"""Bytes that the broker sends of a partition at once; above the largest message of every topic."""
_LOST_COMMITS = (CommitFailedError, IllegalStateError, RebalanceInProgressError, UnknownMemberIdError)
_METADATA_ATTEMPTS = 20
Polled = dict[TopicPartition, list[Record]]
Durable = Callable[[TopicPartition], int | None]
"""The offset before which everything of a partition is durable. None: the caller does not know this partition yet."""


class RebalanceListener(Protocol):
    """What a caller does when its share of a group's partitions changes. Both run between two polls' fetches."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """The reader starts at the committed offset of each, unless this seeks elsewhere."""
        ...

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Commits for these partitions are lost from here on; what is in hand of them is another member's work."""
        ...


class PartitionReader:
    """What both readers share. Use as an async context manager: records are fetched only inside the block."""

    def __init__(
        self,
        service: str,
        topics: Sequence[str],
        settings: ServiceSettings,
        clock: Clock,
        *,
        client_id: str,
        fetch_bytes: int,
        group: str | None,
        durable: Durable | None = None,
    ) -> None:
        pass_over_undecodable()
        self._topics = list(topics)
        self._settings = settings
        self._clock = clock
        self._durable = durable
        self._in_hand: dict[TopicPartition, int] = {}
        self._progress = ConsumerProgress(
            service, self._topics, settings.stuck_after_s, clock, commits=group is not None
        )
        membership: dict[str, Any] = {}
        if group is not None:
            membership = {
                # Static membership: a restart under the same name takes its partitions back without a rebalance.
                "group_instance_id": settings.instance_id or None,
                # A killed process delays its partitions by this much when it does not come back under its name.
                "session_timeout_ms": 10_000,
                "heartbeat_interval_ms": 3_000,
                "max_poll_interval_ms": 300_000,
            }
        self._consumer = AIOKafkaConsumer(
            **connection_options(settings),
            **membership,
            group_id=group,
            client_id=client_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # A transaction that its producer leaves open would hold up everybody's messages behind it, for as long as
            # the producer likes. Repeats have the same id here, so reading what may be aborted later does no harm.
            isolation_level="read_uncommitted",
            max_partition_fetch_bytes=fetch_bytes,
        )

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            await self._begin()
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def _begin(self) -> None:
        raise NotImplementedError

    def problem(self) -> str | None:
        """Liveness check: why this reader counts as stuck, or None."""
        return self._progress.problem()

    def mark_progress(self) -> None:
        """Reports work that was completed and needs no commit."""
        self._progress.mark()

    def assignment(self) -> set[TopicPartition]:
        """Partitions that this reader reads now."""
        return set(self._consumer.assignment())

    async def poll(self, timeout_s: float = POLL_S, max_records: int | None = None) -> Polled:
        """Returns the next records of each partition, in order; an empty mapping after `timeout_s` without any."""
        fetched = await self._consumer.getmany(timeout_ms=seconds_to_ms(timeout_s), max_records=max_records)
        polled = {
            partition: [record_of_message(m) for m in messages] for partition, messages in fetched.items() if messages
        }
        for partition, records in polled.items():
            self._in_hand.setdefault(partition, records[0].offset)
        self._observe_lag()
        return polled

    def _observe_lag(self) -> None:
        behind: dict[TopicPartition, int] = {}
        for partition in self._consumer.assignment():
            end, durable = self._consumer.highwater(partition), self._durable_position(partition)
            if end is not None and durable is not None:
                behind[partition] = max(0, end - durable)
        self._progress.observe_lag(behind)

    def _durable_position(self, partition: TopicPartition) -> int | None:
        known = self._durable(partition) if self._durable is not None else None
        if known is None:
            known = self._in_hand.get(partition)
        return self._position(partition) if known is None else known

    def _position(self, partition: TopicPartition) -> int | None:
        # aiokafka's own position() waits until there is one; this must not wait, so it reads the state behind it.
        state = self._consumer._subscription.subscription.assignment.state_value(partition)
        position: int | None = state.position if state is not None and state.has_valid_position else None
        return position


class GroupReader(PartitionReader):
    """Reads topics as a member of the group named after the service. The module's text has the contract."""

    def __init__(
        self,
        service: str,
        topics: Sequence[str],
        settings: ServiceSettings,
        clock: Clock,
        *,
        listener: RebalanceListener | None = None,
        durable: Durable | None = None,
        fetch_bytes: int = FETCH_BYTES,
    ) -> None:
        super().__init__(
            service,
            topics,
            settings,
            clock,
            client_id=service,
            fetch_bytes=fetch_bytes,
            group=service,
            durable=durable,
        )
        self._group = service
        self._listener = listener
        self._failure: Exception | None = None

    async def _begin(self) -> None:
        self._consumer.subscribe(self._topics, listener=_Rebalances(self))

    async def poll(self, timeout_s: float = POLL_S, max_records: int | None = None) -> Polled:
        """As in PartitionReader. Raises what the listener has raised since the last poll."""
        if self._failure is not None:
            raise self._failure
        polled = await super().poll(timeout_s, max_records)
        for records in polled.values():
            self._progress.observe_age(records)
        return polled

    async def commit(self, offsets: Mapping[TopicPartition, int | OffsetAndMetadata]) -> bool:
        """Commits, for each partition, the offset of the next record to handle, with metadata if the caller likes.

        Covers everything that `poll` has returned of these partitions. Returns False when the commit was lost to a
        rebalance; raises any other KafkaError.
        """
        if not offsets:
            return True
        try:
            await self._consumer.commit(dict(offsets))
        except _LOST_COMMITS as error:
            log.warning("commit_lost_to_rebalance", error=str(error))
            return False
        for partition in offsets:
            self._in_hand.pop(partition, None)
        self._progress.committed()
        self._observe_lag()
        return True

    async def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """The group's committed offset with its metadata, or None when there is none."""
        # The consumer's own committed() leaves the metadata out.
        admin = AIOKafkaAdminClient(**connection_options(self._settings))
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(self._group, partitions=[partition])
        finally:
            await admin.close()
        found: OffsetAndMetadata | None = offsets.get(partition)
        return found if found is not None and found.offset >= 0 else None

    async def bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """The offsets of the first message that the log still has, and of the next one to be written."""
        begins = await self._consumer.beginning_offsets([partition])
        ends = await self._consumer.end_offsets([partition])
        return begins[partition], ends[partition]

    async def offset_at(self, partition: TopicPartition, appended_ms: int) -> int | None:
        """The first offset whose timestamp is `appended_ms` (milliseconds since 1970) or later, or None."""
        found = (await self._consumer.offsets_for_times({partition: appended_ms})).get(partition)
        return None if found is None else int(found.offset)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Reads on from `offset`. Raises aiokafka's IllegalStateError when the partition was revoked."""
        self._consumer.seek(partition, offset)

    async def seek_to_beginning(self, partition: TopicPartition) -> None:
        """Reads on from the first message that the log has. Raises IllegalStateError as `seek` does."""
        await self._consumer.seek_to_beginning(partition)

    async def _assigned(self, partitions: Iterable[TopicPartition]) -> None:
        if self._listener is None:
            return
        try:
            await self._listener.on_partitions_assigned(partitions)
        except Exception as error:
            self._failure = error

    async def _revoked(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._in_hand.pop(partition, None)
        self._progress.revoked(partitions)
        if self._listener is None:
            return
        try:
            await self._listener.on_partitions_revoked(partitions)
        except Exception as error:
            self._failure = error


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc,unused-ignore]
    def __init__(self, reader: GroupReader) -> None:
        self._reader = reader

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await self._reader._assigned(assigned)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._reader._revoked(revoked)


class TopicReader(PartitionReader):
    """Reads all partitions of topics without a group, from their beginning or from `horizon_s` ago.

    What `poll` returns counts as handled at the next `poll`; nothing is committed, because every process reads the
    topics again when it starts.
    """

    def __init__(
        self,
        service: str,
        topics: Sequence[str],
        settings: ServiceSettings,
        clock: Clock,
        *,
        name: str,
        horizon_s: float | None = None,
    ) -> None:
        """`name` tells this reader apart from the others of the service, in the broker's logs and quotas."""
        super().__init__(
            service,
            topics,
            settings,
            clock,
            client_id=f"{service}-{name}",
            fetch_bytes=FETCH_BYTES,
            group=None,
        )
        self._horizon_s = horizon_s
        self._ends: dict[TopicPartition, int] = {}

    async def _begin(self) -> None:
        partitions = []
        for topic in self._topics:
            partitions += [TopicPartition(topic, number) for number in await self._partitions_of(topic)]
        self._consumer.assign(partitions)
        self._ends = await self._consumer.end_offsets(partitions)
        if self._horizon_s is None:
            await self._consumer.seek_to_beginning(*partitions)
            return
        since_ms = ns_to_ms(max(0, self._clock.now_utc_ns() - seconds_to_ns(self._horizon_s)))
        found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
        for partition in partitions:
            first = found.get(partition)
            self._consumer.seek(partition, self._ends[partition] if first is None else first.offset)

    async def poll(self, timeout_s: float = POLL_S, max_records: int | None = None) -> Polled:
        """As in PartitionReader. Records that arrive are progress: what hangs then is the caller."""
        self._handled()
        polled = await super().poll(timeout_s, max_records)
        if polled:
            self.mark_progress()
        return polled

    def caught_up(self) -> bool:
        """Whether `poll` has returned everything that the topics held when the reader started."""
        positions = {partition: self._position(partition) for partition in self._ends}
        return all(at is not None and at >= self._ends[partition] for partition, at in positions.items())

    async def read_to_end(self) -> AsyncIterator[Record]:
        """Yields the records up to where the topics ended when the reader started. `poll` continues from there."""
        while not self.caught_up():
            for records in (await self.poll()).values():
                for record in records:
                    yield record
        self._handled()

    def _handled(self) -> None:
        if self._in_hand:
            self._in_hand.clear()
            self._observe_lag()

    async def _partitions_of(self, topic: str) -> set[int]:
        partitions: set[int] | None = self._consumer.partitions_for_topic(topic)
        for attempt in range(_METADATA_ATTEMPTS):
            if partitions:
                return partitions
            if attempt > 0:  # the metadata of a new topic takes a moment to reach all brokers
                await asyncio.sleep(POLL_S)
            # A consumer without a group has metadata only on request; aiokafka has no public call for that.
            await self._consumer._client.force_metadata_update()
            partitions = self._consumer.partitions_for_topic(topic)
        raise KafkaError(f"the topic {topic} does not exist: create the topics of protos/topics.yaml first")
