"""Decides which messages belong to which file, so that each row is archived exactly once, also after kills.

Four rules depend on nothing but the log and the files:

1. A file begins where the file before it ends, and its name is its first offset.
2. A file is created only if none of that name exists. Of two archivers that both believe they own a partition, the
   second discards what it has read.
3. A batch that is in an earlier file, or earlier in this one, is left out.
4. A batch that is left out still moves the end of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from fleetloop.domain.archive_files import Footer, VehicleTotals
from fleetloop.domain.archive_rows import kind_of
from fleetloop.domain.frames import FrameBatch
from fleetloop.domain.validation import BatchError
from telemetry_archiver.model import Arrival, SeenBatches


class GapError(Exception):
    """The archive and the topic do not belong together. The text says what to do."""


def next_offset(newest: Footer | None) -> int:
    """The first offset of the file after `newest`. An empty archive begins at 0, whatever the log still holds."""
    return 0 if newest is None else newest.last_offset + 1


def check_log(begin: int, end: int, first: int, partition: int) -> int:
    """The offset from which to read for a file that begins at `first`, in a log that holds [begin, end).

    Raises GapError when the log ends before the archive does, because then the topic was created again.
    """
    if first > end:
        raise GapError(
            f"the archive of partition {partition} reaches offset {first - 1}, its topic only {end - 1}: the "
            "topic was created again. Move the folder of the archive away, or use another fleet_id"
        )
    return max(begin, first)


def known_batches(footers: Iterable[Footer], lateness_ms: int) -> SeenBatches:
    """The batches of which a repeat may still arrive, from the footers of a partition, newest first.

    Stops at the first footer that is older than `lateness_ms`, so that older files are not read.
    """
    seen = SeenBatches()
    newest_ms: int | None = None
    for footer in footers:
        newest_ms = footer.last_appended_ms if newest_ms is None else max(newest_ms, footer.last_appended_ms)
        if footer.last_appended_ms < newest_ms - lateness_ms:
            break
        for vehicle, boots in footer.sequences.items():
            for boot, ranges in boots.items():
                for low, high in ranges:
                    seen.add(vehicle, boot, low, high, footer.last_appended_ms)
    return seen


def check_shape(batch: FrameBatch) -> None:
    """Raises BatchError for a batch whose columns do not fit its clocks; the gateway accepts none."""
    if batch.frames() == 0:
        raise BatchError("length", "frame_offsets_ns", "is empty")
    for path, column in batch.columns.items():
        instants = batch.frame_offsets_ns if column.offsets_ns is None else column.offsets_ns
        if column.rows() != len(instants):
            raise BatchError("length", f"columns[{path}].values", f"{column.rows()} for {len(instants)} instants")
        splits = column.splits
        if splits is not None and (
            len(splits) == 0
            or int(splits[0]) != 0
            or int(splits[-1]) != len(column.values)
            or bool((splits[1:] < splits[:-1]).any())
        ):
            raise BatchError("length", f"columns[{path}].splits", "do not divide the values")
        if column.dictionary and len(column.values) and int(column.values.max()) >= len(column.dictionary):
            raise BatchError("range", f"columns[{path}].values", "has a code beyond its dictionary")


def first_at_fault(file: OpenFile, encode: Callable[[Sequence[tuple[int, FrameBatch]]], object]) -> int | None:
    """The offset of the first batch because of which a file cannot be encoded, found with few trials.

    The batches before it can be encoded together. None when all of them can.
    """
    batches = file.batches
    works, fails = 0, len(batches) + 1
    while fails - works > 1:
        tried = (works + fails) // 2
        try:
            encode(batches[:tried])
        except Exception:
            fails = tried
        else:
            works = tried
    return None if fails > len(batches) else batches[fails - 1][0]


class OpenFile:
    """The file that is being filled with the messages of one partition from `first_offset` on."""

    def __init__(self, first_offset: int, seen: SeenBatches) -> None:
        self.first_offset = first_offset
        self.last_offset = first_offset - 1
        self.batches: list[tuple[int, FrameBatch]] = []
        self.appended_ms: dict[int, int] = {}
        self.size_bytes = 0
        self._seen = seen
        self._own = SeenBatches()
        self._kinds: dict[str, str] = {}
        self._totals: dict[str, VehicleTotals] = {}
        self._first_ms = self._last_ms = 0
        self._repeats = self._unreadable = 0

    @property
    def empty(self) -> bool:
        """Whether no message was added yet."""
        return self.last_offset < self.first_offset

    def fits(self, arrival: Arrival) -> bool:
        """False when a signal of the batch has another type in this file, which then has to be closed first."""
        if arrival.batch is None:
            return True
        return all(
            self._kinds.get(path, kind) == kind
            for path, column in arrival.batch.columns.items()
            if column.rows()
            for kind in (kind_of(column),)
        )

    def add(self, arrival: Arrival) -> bool:
        """Adds the next message of the log. Returns False when it is a repeat or could not be decoded."""
        if self.empty:
            self._first_ms = arrival.appended_ms
        self._last_ms = max(self._last_ms, arrival.appended_ms)
        self.last_offset = arrival.offset
        self.size_bytes += arrival.size_bytes
        batch = arrival.batch
        if batch is None:
            self._unreadable += 1
            return False
        boot, number = batch.boot_id.hex(), batch.sequence
        if not self._seen.add(batch.vehicle_id, boot, number, number, arrival.appended_ms):
            self._repeats += 1
            return False
        self._own.add(batch.vehicle_id, boot, number, number, arrival.appended_ms)
        self.batches.append((arrival.offset, batch))
        self.appended_ms[arrival.offset] = arrival.appended_ms
        self._kinds.update({path: kind_of(column) for path, column in batch.columns.items() if column.rows()})
        self._count(batch)
        return True

    def footer(self) -> Footer:
        """The footer of the file."""
        return Footer(
            self.first_offset,
            self.last_offset,
            self._first_ms,
            self._last_ms,
            self._repeats,
            self._unreadable,
            self._totals,
            self._own.ranges(),
        )

    def successor(self, lateness_ms: int) -> OpenFile:
        """The next file, once this one is stored. It recognises repeats of everything in this one."""
        self._seen.prune_before(self._last_ms - lateness_ms)
        return OpenFile(self.last_offset + 1, self._seen)

    def _count(self, batch: FrameBatch) -> None:
        begin = batch.start_utc_ns
        end = begin + batch.end_monotonic_ns() - batch.start_monotonic_ns
        known = self._totals.get(batch.vehicle_id, VehicleTotals(0, 0, begin, end))
        self._totals[batch.vehicle_id] = VehicleTotals(
            known.batches + 1,
            known.frames + batch.frames(),
            min(known.first_utc_ns, begin),
            max(known.last_utc_ns, end),
        )
