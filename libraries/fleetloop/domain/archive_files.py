"""The telemetry archive's files: their names, their footers, and reading them as batches or as a Polars frame.

`<fleet>/telemetry/<partition>/<first offset>.parquet` holds the log of one partition from its first offset to the
last offset that its footer names, each batch once. The footer also holds totals and the sequence numbers of the
batches in the file. The archiver that resumes, and the statistics, therefore read only footers.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fleetloop.domain.archive_rows import APPENDED, BATCH_COLUMN_NAMES, from_table, to_table
from fleetloop.domain.frames import FrameBatch
from fleetloop.kit.storage.objects import Objects

_FOOTER = b"fleetloop.archive"
# An int64 offset has at most 19 digits; padded to one width, names sort as offsets do.
_DIGITS = 20
_NAME = re.compile(r"telemetry/[0-9]{1,9}/[0-9]{1,20}\.parquet")
_ROWS_PER_GROUP = 131_072


class ArchiveFileError(Exception):
    """A file in the archive's folder is not an archive file. The message names the file."""


@dataclass(frozen=True, slots=True)
class VehicleTotals:
    """What a file holds of one vehicle. The times are the first and last instant of its batches, nanoseconds UTC."""

    batches: int
    frames: int
    first_utc_ns: int
    last_utc_ns: int


@dataclass(frozen=True, slots=True)
class Footer:
    """The summary that a file carries in its Parquet metadata."""

    first_offset: int
    last_offset: int
    """Last offset that was read for this file, repeats and unreadable messages included."""
    first_appended_ms: int
    """When the broker appended the first message, milliseconds UTC."""
    last_appended_ms: int
    """When the broker appended the last message, milliseconds UTC."""
    repeats: int
    """Batches left out because they had been archived before."""
    unreadable: int
    """Messages that are not batches; they are in the dead-letter queue."""
    vehicles: Mapping[str, VehicleTotals] = field(default_factory=dict)
    sequences: Mapping[str, Mapping[str, Sequence[tuple[int, int]]]] = field(default_factory=dict)
    """Vehicle -> boot in hex -> ranges of sequence numbers in this file, both ends included."""


def folder_of(fleet_id: str, partition: int) -> str:
    """Return the prefix of a partition's files in the object store."""
    return f"{fleet_id}/telemetry/{partition}/"


def address_of(fleet_id: str, partition: int, first_offset: int) -> str:
    """Return the address of the file that begins at `first_offset`, padded so that names sort as offsets do."""
    return f"{folder_of(fleet_id, partition)}{first_offset:0{_DIGITS}d}.parquet"


def list_files(objects: Objects, fleet_id: str, partition: int | None = None) -> list[str]:
    """List the addresses of one partition's files, or of all, in the order of partitions and offsets.

    Objects with other names, such as damaged files that were set aside, are left out.
    """
    prefix = f"{fleet_id}/telemetry/" if partition is None else folder_of(fleet_id, partition)
    found = [address for address in objects.list(prefix) if _NAME.fullmatch(address.removeprefix(f"{fleet_id}/"))]
    return sorted(found, key=_partition_and_offset)


def write_file(
    batches: Sequence[tuple[int, FrameBatch]], footer: Footer, appended_ms: Mapping[int, int] | None = None
) -> bytes:
    """Return the bytes of an archive file.

    Args:
        batches: Pairs of (offset, batch), in the order of offsets.
        footer: The summary to store in the file.
        appended_ms: By offset, when the broker appended the batch, milliseconds UTC.

    Raises:
        ValueError: A signal has different kinds in two batches (`archive_rows.kind_of`).
    """
    table = to_table(batches, appended_ms)
    metadata = {_FOOTER: json.dumps(asdict(footer), separators=(",", ":")).encode()}
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        row_group_size=_ROWS_PER_GROUP,
        write_page_checksum=True,
    )
    return sink.getvalue()


def read_footer(objects: Objects, address: str) -> Footer:
    """Read a file's footer without its rows. Raises ArchiveFileError when the file is no file of the archive."""
    with _damage(address):
        raw = json.loads((pq.read_schema(_source(objects, address)).metadata or {})[_FOOTER])
        raw["vehicles"] = {vehicle: VehicleTotals(**totals) for vehicle, totals in raw["vehicles"].items()}
        raw["sequences"] = {
            vehicle: {boot: [(int(low), int(high)) for low, high in ranges] for boot, ranges in boots.items()}
            for vehicle, boots in raw["sequences"].items()
        }
        footer = Footer(**raw)
        if not _partition_and_offset(address)[1] == footer.first_offset <= footer.last_offset:
            raise ValueError(f"it holds the offsets {footer.first_offset} to {footer.last_offset}")
    return footer


def read_file(
    objects: Objects, address: str, signals: Collection[str] | None = None
) -> Iterator[tuple[int, FrameBatch]]:
    """Yield a file's (offset, batch) pairs in order. With `signals`, only those columns are read.

    Raises ArchiveFileError when the file is damaged.
    """
    with _damage(address):
        source = _source(objects, address)
        columns = None
        if signals is not None:
            there = set(pq.read_schema(source).names)
            columns = [*BATCH_COLUMN_NAMES, *(path for path in sorted(signals) if path in there)]
            source = _source(objects, address)
        table = pq.read_table(source, columns=columns, page_checksum_verification=True)
        yield from from_table(table)


@contextmanager
def _damage(address: str) -> Iterator[None]:
    """Turns what a damaged file makes pyarrow raise into ArchiveFileError; a failing disk stays an OSError."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise
        raise ArchiveFileError(f"{address} is no file of the archive: {error!r}") from error
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError, pa.ArrowException) as error:
        raise ArchiveFileError(f"{address} is no file of the archive: {error!r}") from error


def read_appended(objects: Objects, address: str, footer: Footer) -> Mapping[int, int]:
    """Map each offset of a file to the time when the broker appended it, milliseconds UTC.

    A file without the column (written by an earlier version) gets times interpolated between the footer's two.
    """
    with _damage(address):
        return _appended(objects, address, footer)


def _appended(objects: Objects, address: str, footer: Footer) -> Mapping[int, int]:
    if APPENDED not in pq.read_schema(_source(objects, address)).names:
        span = max(1, footer.last_offset - footer.first_offset)
        ms = footer.last_appended_ms - footer.first_appended_ms
        offsets = range(footer.first_offset, footer.last_offset + 1)
        return {o: footer.first_appended_ms + ms * (o - footer.first_offset) // span for o in offsets}
    table = pq.read_table(_source(objects, address), columns=["offset", APPENDED], page_checksum_verification=True)
    offsets_read, first = np.unique(table["offset"].to_numpy(), return_index=True)
    times = table[APPENDED].to_numpy()[first]
    return dict(zip(offsets_read.tolist(), times.tolist(), strict=True))


def read_archive(
    objects: Objects,
    fleet_id: str,
    *,
    signals: Collection[str] | None = None,
    vehicles: Collection[str] | None = None,
    from_utc_ns: int | None = None,
    until_utc_ns: int | None = None,
) -> Iterator[FrameBatch]:
    """Yield all batches, one partition after the other, each partition in the order of its log.

    That is the order in which a detector read them. Batches that lie wholly outside [from, until) or belong to
    other vehicles are left out; of a file without any requested batch only the footer is read. Raises
    ArchiveFileError at a damaged file.
    """
    for address in list_files(objects, fleet_id):
        footer = read_footer(objects, address)
        if not any(
            (vehicles is None or vehicle in vehicles)
            and (from_utc_ns is None or totals.last_utc_ns >= from_utc_ns)
            and (until_utc_ns is None or totals.first_utc_ns < until_utc_ns)
            for vehicle, totals in footer.vehicles.items()
        ):
            continue
        for _, batch in read_file(objects, address, signals):
            if vehicles is not None and batch.vehicle_id not in vehicles:
                continue
            end_utc_ns = batch.start_utc_ns + batch.end_monotonic_ns() - batch.start_monotonic_ns
            if from_utc_ns is not None and end_utc_ns < from_utc_ns:
                continue
            if until_utc_ns is not None and batch.start_utc_ns >= until_utc_ns:
                continue
            yield batch


def scan_archive(folder: Path) -> pl.LazyFrame:
    """Return every archive file below a folder as one lazy Polars frame, for notebooks.

    A signal that a file lacks is null in that file's rows. Raises ArchiveFileError when there is no file.
    """
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise ArchiveFileError(f"no file of the archive lies below {folder}")
    return pl.concat([pl.scan_parquet(path) for path in files], how="diagonal_relaxed")


def _partition_and_offset(address: str) -> tuple[int, int]:
    parts = address.split("/")
    return int(parts[-2]), int(parts[-1].removesuffix(".parquet"))


def _source(objects: Objects, address: str) -> Path | io.BytesIO:
    path = objects.path_of(address)
    return path if path is not None else io.BytesIO(objects.get(address))
