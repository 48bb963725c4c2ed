"""The archive in the object store: what is there already, and files that are created once."""

from __future__ import annotations

from collections.abc import Iterator

from fleetloop.domain.archive_files import Footer, address_of, list_files, read_footer, write_file
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.storage.objects import Objects
from telemetry_archiver.core import OpenFile, next_offset, recall

log = get_logger(__name__)


class Archive:
    """One fleet's archive. Every call blocks: shells run them in a thread."""

    def __init__(self, objects: Objects, fleet_id: str, lateness_ms: int) -> None:
        self._objects = objects
        self._fleet_id = fleet_id
        self._lateness_ms = lateness_ms
        self._footers: dict[str, Footer] = {}

    def address(self) -> str:
        """Address below which all files lie."""
        return f"{self._fleet_id}/telemetry/"

    def begin(self, partition: int) -> OpenFile:
        """The file that comes next in a partition, with what it has to leave out. Reads storage alone."""
        newest_first = list_files(self._objects, self._fleet_id, partition)[::-1]
        newest = self._footer(newest_first[0]) if newest_first else None
        seen = recall((self._footer(address) for address in newest_first), self._lateness_ms)
        return OpenFile(next_offset(newest), seen)

    def close(self, partition: int, file: OpenFile) -> int | None:
        """Creates the file and returns its size; None when there is one of that name: what was read is void."""
        content = write_file(file.batches, file.footer(), file.appended_ms)
        address = address_of(self._fleet_id, partition, file.first_offset)
        return len(content) if self._objects.put_once(address, content) else None

    def footers(self) -> Iterator[Footer]:
        """Of all files of all partitions, whoever wrote them."""
        for address in list_files(self._objects, self._fleet_id):
            yield self._footer(address)

    def _footer(self, address: str) -> Footer:
        footer = self._footers.get(address)
        if footer is None:
            footer = self._footers[address] = read_footer(self._objects, address)
        return footer
