"""The Kafka shell: reads each partition from where its newest file ends and closes files by size and time.

Committed offsets are written for whoever watches lag. They decide nothing: after a crash, a rebalance or a lost
race a partition is read from where storage says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from fleetloop.domain.topics import TELEMETRY
from fleetloop.kit.messaging.events import event_time_ns_of
from fleetloop.kit.messaging.producer import KafkaPublisher, Record, UnreadableMessageError, connection_options
from fleetloop.kit.process.clock import Clock, ns_to_seconds, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import CONSUMER_LAG, EVENT_AGE, LAST_COMMIT, MESSAGES
from telemetry_archiver.codec import arrival_of
from telemetry_archiver.core import OpenFile, check_log
from telemetry_archiver.metrics import (
    BATCHES,
    BYTES,
    FILES,
    FRAMES,
    LOST_RACES,
    MISSED_OFFSETS,
    REPEATS,
    WAITING_BATCHES,
)
from telemetry_archiver.settings import TelemetryArchiverSettings
from telemetry_archiver.store import Archive

log = get_logger(__name__)


class _Desk:
    """One partition that this process has: its open file, and what is to be buried with it."""

    def __init__(self, file: OpenFile) -> None:
        self.file = file
        self.began_ns: int | None = None
        self.unreadable: list[tuple[Record, UnreadableMessageError]] = []


class Archivist(ConsumerRebalanceListener):  # type: ignore[misc,unused-ignore]
    """Archives the partitions that it is given."""

    def __init__(
        self,
        service: str,
        archive: Archive,
        publisher: KafkaPublisher,
        clock: Clock,
        settings: TelemetryArchiverSettings,
    ) -> None:
        self._service = service
        self._archive = archive
        self._publisher = publisher
        self._clock = clock
        self._settings = settings
        self._desks: dict[TopicPartition, _Desk] = {}
        self._last_progress_ns = clock.monotonic_ns()
        self._behind = 0
        self._failure: Exception | None = None
        self._consumer = AIOKafkaConsumer(
            **connection_options(settings),
            group_id=service,
            group_instance_id=settings.instance_id or None,
            client_id=service,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=4 * 1024 * 1024,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
            max_poll_interval_ms=300_000,
        )

    def problem(self) -> str | None:
        """Why this archiver counts as stuck, or None."""
        idle_s = ns_to_seconds(self._clock.monotonic_ns() - self._last_progress_ns)
        if self._behind > 0 and idle_s > self._settings.stuck_after_s:
            return f"{self._behind} messages behind and no file closed for {idle_s:.0f} s"
        return None

    async def run(self, stopping: asyncio.Event) -> None:
        """Runs until `stopping`; open files are closed before it returns."""
        await self._consumer.start()
        try:
            self._consumer.subscribe([TELEMETRY], listener=self)
            while not stopping.is_set():
                if self._failure is not None:
                    raise self._failure
                polled = await self._consumer.getmany(timeout_ms=200, max_records=1000)
                # Whose they are is settled here, before anything is awaited: a partition that goes and comes back
                # begins elsewhere, and what was polled before would leave a hole in its file.
                desks = dict(self._desks)
                for partition, messages in polled.items():
                    if messages and partition in desks and self._desks.get(partition) is desks[partition]:
                        await self._read(partition, [_record(m) for m in messages])
                await self._close_due()
                self._observe()
            for partition in list(self._desks):
                await self._close(partition)
        finally:
            await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """What was read for a file that is not closed is void: the next owner reads it again."""
        self._desks.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Every partition starts from what storage says."""
        try:
            for partition in assigned:
                await self._open(partition)
        except Exception as error:
            # aiokafka would log it and read on without the partition; it has to end the process.
            self._failure = error
            raise

    async def _open(self, partition: TopicPartition) -> None:
        file = await asyncio.to_thread(self._archive.begin, partition.partition)
        begins: Mapping[TopicPartition, int] = await self._consumer.beginning_offsets([partition])
        ends: Mapping[TopicPartition, int] = await self._consumer.end_offsets([partition])
        start = check_log(begins[partition], ends[partition], file.first_offset, partition.partition)
        if start > file.first_offset > 0:
            MISSED_OFFSETS.inc(start - file.first_offset)
            log.error("log_shorter_than_absence", partition=partition.partition, missed=start - file.first_offset)
        self._consumer.seek(partition, start)
        self._desks[partition] = _Desk(file)
        log.info("partition_opened", partition=partition.partition, offset=start)

    async def _read(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        self._observe_age(records)
        for record in records:
            arrival, problem = arrival_of(record)
            if not self._desks[partition].file.fits(arrival) and not await self._close(partition):
                return  # the race was lost; the partition is read again from where storage ends
            desk = self._desks[partition]
            if desk.began_ns is None:
                desk.began_ns = self._clock.monotonic_ns()
            if problem is not None:
                desk.unreadable.append((record, problem))
            desk.file.take(arrival)
        if self._desks[partition].file.size_bytes >= self._settings.cut_bytes:
            await self._close(partition)

    async def _close_due(self) -> None:
        due_ns = self._clock.monotonic_ns() - seconds_to_ns(self._settings.cut_after_s)
        for partition, desk in list(self._desks.items()):
            if desk.began_ns is not None and desk.began_ns <= due_ns:
                await self._close(partition)

    async def _close(self, partition: TopicPartition) -> bool:
        """Closes the open file and begins the next; False when what was polled since is no longer this process's."""
        desk = self._desks.get(partition)
        if desk is None:
            return False
        if desk.file.empty:
            return True
        for record, error in desk.unreadable:
            await self._publisher.bury(record, error)
        size = await asyncio.to_thread(self._archive.close, partition.partition, desk.file)
        if self._desks.get(partition) is not desk:
            return False  # the partition went away meanwhile; whoever has it now reads storage
        if size is None:
            LOST_RACES.inc()
            log.warning("lost_race", partition=partition.partition, first_offset=desk.file.first_offset)
            await self._open(partition)
            return False
        self._count(desk.file, size)
        # Not from storage: this process has just written the newest file, and it knows the ids that are in it.
        following = self._desks[partition] = _Desk(desk.file.successor(self._settings.lateness_ms))
        await self._commit(partition, desk.file.last_offset + 1)
        return self._desks.get(partition) is following

    async def _commit(self, partition: TopicPartition, offset: int) -> None:
        try:
            await self._consumer.commit({partition: offset})
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("commit_lost_to_rebalance", error=str(error))
        self._last_progress_ns = self._clock.monotonic_ns()
        LAST_COMMIT.labels(self._service).set(ns_to_seconds(self._clock.now_utc_ns()))

    def _count(self, file: OpenFile, size: int) -> None:
        footer = file.footer()
        FILES.inc()
        BYTES.inc(size)
        BATCHES.inc(len(file.batches))
        FRAMES.inc(sum(totals.frames for totals in footer.vehicles.values()))
        REPEATS.inc(footer.repeats)
        MESSAGES.labels(self._service, TELEMETRY, "handled").inc(len(file.batches))
        MESSAGES.labels(self._service, TELEMETRY, "repeat").inc(footer.repeats)
        MESSAGES.labels(self._service, TELEMETRY, "dead").inc(footer.unreadable)

    def _observe_age(self, records: Sequence[Record]) -> None:
        now_ns = self._clock.now_utc_ns()
        for record in (records[0], records[-1]):
            time_ns = event_time_ns_of(record.headers) or record.appended_ms * 1_000_000
            EVENT_AGE.labels(self._service, TELEMETRY).observe(max(0.0, ns_to_seconds(now_ns - time_ns)))

    def _observe(self) -> None:
        """Lag is what is not yet in a file."""
        self._behind = 0
        for partition, desk in self._desks.items():
            end = self._consumer.highwater(partition)
            behind = 0 if end is None else max(0, end - desk.file.first_offset)
            self._behind += behind
            CONSUMER_LAG.labels(self._service, TELEMETRY, str(partition.partition)).set(behind)
        WAITING_BATCHES.set(sum(len(desk.file.batches) for desk in self._desks.values()))
        if self._behind == 0:
            self._last_progress_ns = self._clock.monotonic_ns()


def _record(m: Any) -> Record:
    return Record(m.topic, m.partition, m.offset, m.key, m.value or b"", m.headers, m.timestamp)
