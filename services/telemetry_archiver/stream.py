"""The Kafka shell: reads each partition from where its newest file ends and closes files by size and time.

Committed offsets are written for whoever watches lag. They decide nothing: after a crash, a rebalance or a lost
race a partition is read from where storage says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from aiokafka import TopicPartition

from fleetloop.domain.topics import TELEMETRY
from fleetloop.kit.messaging.partition_reader import GroupReader
from fleetloop.kit.messaging.producer import KafkaPublisher, Record, UnreadableMessageError
from fleetloop.kit.process.clock import Clock, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import MESSAGES
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
_MOST_RECORDS = 1000
_FETCH_BYTES = 4 * 1024 * 1024


class _Desk:
    """One partition that this process has: its open file, and what is to be buried with it."""

    def __init__(self, file: OpenFile) -> None:
        self.file = file
        self.began_ns: int | None = None
        self.unreadable: list[tuple[Record, UnreadableMessageError]] = []


class Archivist:
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
        self._reader = GroupReader(
            service,
            [TELEMETRY],
            settings,
            clock,
            listener=self,
            durable=self._stored_until,
            fetch_bytes=_FETCH_BYTES,
        )

    def problem(self) -> str | None:
        """Liveness check: why this archiver counts as stuck, or None."""
        return self._reader.problem()

    async def run(self, stopping: asyncio.Event) -> None:
        """Runs until `stopping`; open files are closed before it returns."""
        async with self._reader as reader:
            while not stopping.is_set():
                polled = await reader.poll(max_records=_MOST_RECORDS)
                # Whose they are is decided here, before anything is awaited: a partition that goes and comes back
                # begins elsewhere, and what was polled before would leave a hole in its file.
                desks = dict(self._desks)
                for partition, records in polled.items():
                    if partition in desks and self._desks.get(partition) is desks[partition]:
                        await self._read(partition, records)
                await self._close_due()
                WAITING_BATCHES.set(sum(len(desk.file.batches) for desk in self._desks.values()))
            for partition in list(self._desks):
                await self._close(partition)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """What was read for a file that is not closed is void: the next owner reads it again."""
        self._desks.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Every partition starts from what storage says."""
        for partition in assigned:
            await self._open(partition)

    def _stored_until(self, partition: TopicPartition) -> int | None:
        """Lag counts what is not in a file yet."""
        desk = self._desks.get(partition)
        return None if desk is None else desk.file.first_offset

    async def _open(self, partition: TopicPartition) -> None:
        file = await asyncio.to_thread(self._archive.begin, partition.partition)
        begin, end = await self._reader.bounds(partition)
        start = check_log(begin, end, file.first_offset, partition.partition)
        if start > file.first_offset > 0:
            MISSED_OFFSETS.inc(start - file.first_offset)
            log.error("log_shorter_than_absence", partition=partition.partition, missed=start - file.first_offset)
        self._reader.seek(partition, start)
        self._desks[partition] = _Desk(file)
        log.info("partition_opened", partition=partition.partition, offset=start)

    async def _read(self, partition: TopicPartition, records: Sequence[Record]) -> None:
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
        await self._reader.commit({partition: desk.file.last_offset + 1})
        return self._desks.get(partition) is following

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
