"""The Kafka shell: reads each partition from the end of its newest file, and closes files by size and time.

Committed offsets only serve tools that show lag. After a crash, a rebalance or a lost race, storage decides from
which offset a partition is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError

from fleetloop.domain.archive_files import write_file
from fleetloop.domain.topics import TELEMETRY
from fleetloop.kit.messaging.dead_letters import ATTEMPTS, is_for_another, summary
from fleetloop.kit.messaging.outage import is_outage
from fleetloop.kit.messaging.partition_reader import GroupReader
from fleetloop.kit.messaging.producer import KafkaPublisher, Record
from fleetloop.kit.process.clock import Clock, seconds_to_ns
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import MESSAGES
from telemetry_archiver.codec import arrival_of
from telemetry_archiver.core import OpenFile, check_log, first_at_fault
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


class _OpenPartition:
    """One assigned partition: its open file, and the records for the dead-letter queue that belong to it."""

    def __init__(self, file: OpenFile) -> None:
        self.file = file
        self.began_ns: int | None = None
        self.unreadable: list[tuple[Record, Exception, int]] = []
        """Each with its error and the number of attempts."""


class ArchiverStream:
    """Archives the partitions that are assigned to this process."""

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
        self._partitions: dict[TopicPartition, _OpenPartition] = {}
        self._at_fault: dict[TopicPartition, dict[int, Exception]] = {}
        """By partition and offset, batches that no file can hold, with the error of the encoder."""
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
                # Decided before anything is awaited: a partition that is revoked and assigned again begins at another
                # offset, and records of this poll would leave a gap in its file.
                opened = dict(self._partitions)
                for partition, records in polled.items():
                    if partition in opened and self._partitions.get(partition) is opened[partition]:
                        await self._read(partition, records)
                await self._close_due_files()
                WAITING_BATCHES.set(sum(len(current.file.batches) for current in self._partitions.values()))
            for partition in list(self._partitions):
                await self._close_file(partition)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Drops open files: the next owner reads their records again."""
        self._partitions.clear()
        self._at_fault.clear()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Starts every partition at the offset that storage gives."""
        for partition in assigned:
            await self._open_partition(partition)

    def _stored_until(self, partition: TopicPartition) -> int | None:
        """The durable position: lag counts what is not in a closed file yet."""
        current = self._partitions.get(partition)
        return None if current is None else current.file.first_offset

    async def _open_partition(self, partition: TopicPartition, current: _OpenPartition | None = None) -> None:
        """Reads a partition from where storage ends, in place of its open file `current`, if there is one.

        Does nothing if the partition was revoked meanwhile: its next owner reads storage.
        """
        file = await asyncio.to_thread(self._archive.begin, partition.partition)
        begin, end = await self._reader.bounds(partition)
        start = check_log(begin, end, file.first_offset, partition.partition)
        if start > file.first_offset > 0:
            MISSED_OFFSETS.inc(start - file.first_offset)
            log.error("log_shorter_than_absence", partition=partition.partition, missed=start - file.first_offset)
        if current is not None and self._partitions.get(partition) is not current:
            return
        try:
            self._reader.seek(partition, start)
        except IllegalStateError:
            log.info("revoked_before_opened", partition=partition.partition)
            self._partitions.pop(partition, None)
            return
        self._partitions[partition] = _OpenPartition(file)
        log.info("partition_opened", partition=partition.partition, offset=start)

    async def _read(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        for record in records:
            arrival, problem = arrival_of(record)
            attempts, at_fault = 1, self._at_fault.get(partition, {}).get(record.offset)
            if at_fault is not None:
                arrival, problem, attempts = replace(arrival, batch=None), at_fault, ATTEMPTS
            if is_for_another(record, self._service):
                arrival, problem = replace(arrival, batch=None), None
            if not self._partitions[partition].file.fits(arrival) and not await self._close_file(partition):
                return  # another archiver created the file; the partition is read again from where storage ends
            current = self._partitions[partition]
            if current.began_ns is None:
                current.began_ns = self._clock.monotonic_ns()
            if problem is not None:
                current.unreadable.append((record, problem, attempts))
            current.file.add(arrival)
        if self._partitions[partition].file.size_bytes >= self._settings.cut_bytes:
            await self._close_file(partition)

    async def _close_due_files(self) -> None:
        due_ns = self._clock.monotonic_ns() - seconds_to_ns(self._settings.cut_after_s)
        for partition, current in list(self._partitions.items()):
            if current.began_ns is not None and current.began_ns <= due_ns:
                await self._close_file(partition)

    async def _close_file(self, partition: TopicPartition) -> bool:
        """Closes the open file and begins the next one.

        Returns False when the rest of the poll must be dropped, because the partition has another owner or is read
        again from where storage ends.
        """
        current = self._partitions.get(partition)
        if current is None:
            return False
        if current.file.empty:
            return True
        try:
            content = await asyncio.to_thread(self._archive.encode, current.file)
        except Exception as error:
            if is_outage(error):
                raise
            await self._read_again_without_fault(partition, current, error)
            return False
        for record, problem, attempts in current.unreadable:
            await self._publisher.send_to_dlq(record, problem, attempts)
        size = await asyncio.to_thread(self._archive.create, partition.partition, current.file, content)
        if self._partitions.get(partition) is not current:
            return False  # the partition was revoked meanwhile; its new owner reads storage
        if size is None:
            LOST_RACES.inc()
            log.warning("lost_race", partition=partition.partition, first_offset=current.file.first_offset)
            await self._open_partition(partition, current)
            return False
        self._at_fault.pop(partition, None)
        self._count(current.file, size)
        # No need to read storage: this process has just written the newest file and knows the ids in it.
        following = self._partitions[partition] = _OpenPartition(current.file.successor(self._settings.lateness_ms))
        await self._reader.commit({partition: current.file.last_offset + 1})
        return self._partitions.get(partition) is following

    async def _read_again_without_fault(
        self, partition: TopicPartition, current: _OpenPartition, error: Exception
    ) -> None:
        """Finds the batch at fault for a file that cannot be encoded, and reads its records again without it."""
        encode = partial(write_file, footer=current.file.footer(), appended_ms=current.file.appended_ms)
        offset = await asyncio.to_thread(first_at_fault, current.file, encode)
        if offset is None:
            raise error
        log.error("batch_at_fault", partition=partition.partition, offset=offset, error=summary(error))
        if self._partitions.get(partition) is current:
            self._at_fault.setdefault(partition, {})[offset] = error
            await self._open_partition(partition, current)

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
