"""The archive in the object store: reads the footers of files and creates each file once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain

from fleetloop.domain.archive_files import (
    ArchiveFileError,
    Footer,
    address_of,
    list_files,
    read_footer,
    write_file,
)
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.storage.objects import ObjectMissingError, Objects
from telemetry_archiver.core import OpenFile, known_batches, next_offset
from telemetry_archiver.metrics import DAMAGED_FILES

log = get_logger(__name__)


class Archive:
    """The archive of one fleet. Every call blocks, so shells run them in a thread."""

    def __init__(self, objects: Objects, fleet_id: str, lateness_ms: int) -> None:
        self._objects = objects
        self._fleet_id = fleet_id
        self._lateness_ms = lateness_ms
        self._footers: dict[str, Footer] = {}

    def address(self) -> str:
        """Prefix of the addresses of all files."""
        return f"{self._fleet_id}/telemetry/"

    def begin(self, partition: int) -> OpenFile:
        """The next file of a partition, with the batches that it has to leave out. Depends on storage only."""
        newest_first = list_files(self._objects, self._fleet_id, partition)[::-1]
        intact = self._intact(newest_first)
        newest = next(intact, None)
        footers = intact if newest is None else chain((newest,), intact)
        return OpenFile(next_offset(newest), known_batches(footers, self._lateness_ms))

    def _intact(self, addresses: Iterable[str]) -> Iterator[Footer]:
        """The footers of the files that can be read. The others are renamed, so that no reader takes them for files
        of the archive; the offsets after the newest intact file are archived again, as far as the log has them.
        """
        for address in addresses:
            try:
                yield self._footer(address)
            except ArchiveFileError as error:
                aside = f"{address}.damaged-{time.time_ns()}"
                log.error("damaged_file", error=str(error), moved_to=aside)
                DAMAGED_FILES.inc()
                with suppress(ObjectMissingError):  # another archiver was faster
                    self._objects.rename(address, aside)

    def encode(self, file: OpenFile) -> bytes:
        """The bytes of a file. What this raises is the fault of a batch in it: see `first_at_fault`."""
        return write_file(file.batches, file.footer(), file.appended_ms)

    def create(self, partition: int, file: OpenFile, content: bytes) -> int | None:
        """Creates the file and returns its size in bytes, or None when a file of that name exists already."""
        address = address_of(self._fleet_id, partition, file.first_offset)
        return len(content) if self._objects.put_once(address, content) else None

    def footers(self) -> Iterator[Footer]:
        """The footers of all files of all partitions that can be read, including those of other archivers."""
        for address in list_files(self._objects, self._fleet_id):
            try:
                yield self._footer(address)
            except ArchiveFileError as error:
                log.warning("damaged_file", error=str(error))

    def _footer(self, address: str) -> Footer:
        footer = self._footers.get(address)
        if footer is None:
            footer = self._footers[address] = read_footer(self._objects, address)
        return footer
