"""Converts telemetry batches to rows of a table, and back without loss.

A row is one instant of one of a batch's clocks. Clock 0 is the batch's own frames; each further set of instants
that a column carries (`Column.offsets_ns`) is another clock. Each signal is a column of its own type, null in the
rows of other clocks; a ragged signal is a list. The table can therefore be read with any Parquet tool, reading
three signals reads three columns, and a batch is a slice of consecutive rows that becomes arrays without a copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fleetloop.domain.frames import Column, FrameBatch

_WORDS = b"fleetloop.words"
"""Key in an enum field's metadata: the JSON list of the words that its codes stand for."""
FRAMES_CLOCK = 0
"""Number of the clock that holds the batch's own frames."""
BATCH_COLUMNS = (
    pa.field("offset", pa.int64(), nullable=False),
    pa.field("clock", pa.uint16(), nullable=False),
    pa.field("vehicle", pa.dictionary(pa.int32(), pa.string()), nullable=False),
    pa.field("t_utc", pa.timestamp("ns", "UTC"), nullable=False),
    pa.field("t_mono_ns", pa.int64(), nullable=False),
    pa.field("fleet", pa.dictionary(pa.int32(), pa.string()), nullable=False),
    pa.field("boot", pa.dictionary(pa.int32(), pa.string()), nullable=False),
    pa.field("sequence", pa.uint64(), nullable=False),
    pa.field("start_mono_ns", pa.int64(), nullable=False),
    pa.field("start_utc_ns", pa.int64(), nullable=False),
    pa.field("utc_source", pa.dictionary(pa.int32(), pa.string()), nullable=False),
    pa.field("model", pa.dictionary(pa.int32(), pa.string()), nullable=False),
    pa.field("shadow_model", pa.dictionary(pa.int32(), pa.string()), nullable=False),
)
_WORD_COLUMNS = ("vehicle", "fleet", "boot", "utc_source", "model", "shadow_model")
BATCH_COLUMN_NAMES = tuple(field.name for field in BATCH_COLUMNS)
APPENDED = "appended_ms"
"""Name of the column with the time when the broker appended the batch, milliseconds UTC. Files from before this
column was introduced lack it.
"""


@dataclass(frozen=True, slots=True)
class _Segment:
    """One batch's values of a signal, and the rows of the table that they fill."""

    start: int
    """First row."""
    rows: int
    column: Column


def kind_of(column: Column) -> str:
    """Return what decides a table column's type. Two batches that differ in a signal's kind cannot share a file."""
    ragged = "[]" if column.splits is not None else ""
    return ("words" if column.dictionary else column.values.dtype.str) + ragged


def to_table(batches: Sequence[tuple[int, FrameBatch]], appended_ms: Mapping[int, int] | None = None) -> pa.Table:
    """Return one table of all batches, in their order. Columns without any instant are left out.

    Args:
        batches: Pairs of (offset in the log, batch).
        appended_ms: By offset, when the broker appended the batch, milliseconds UTC. None: without that column.

    Raises:
        ValueError: A signal has two kinds (`kind_of`).
    """
    clocks: list[tuple[int, FrameBatch, int, npt.NDArray[np.int64]]] = []
    segments: dict[str, list[_Segment]] = {}
    rows = 0
    for offset, batch in batches:
        own: dict[bytes, tuple[int, int]] = {}
        clocks.append((offset, batch, FRAMES_CLOCK, batch.frame_offsets_ns))
        frames_start = rows
        rows += batch.frames()
        for path, column in batch.columns.items():
            count = column.rows()
            if count == 0:
                continue
            if column.offsets_ns is None:
                start = frames_start
            else:
                key = column.offsets_ns.tobytes()
                if key not in own:
                    own[key] = (len(own) + 1, rows)
                    clocks.append((offset, batch, len(own), column.offsets_ns))
                    rows += count
                start = own[key][1]
            segments.setdefault(path, []).append(_Segment(start, count, column))
    columns = _batch_columns(clocks)
    fields = list(BATCH_COLUMNS)
    if appended_ms is not None:
        times = np.array([appended_ms[offset] for offset, _, _, _ in clocks], np.int64)
        fields.append(pa.field(APPENDED, pa.int64()))
        columns.append(pa.array(np.repeat(times, [len(instants) for _, _, _, instants in clocks])))
    for path in sorted(segments):
        field, values = _signal_column(path, segments[path], rows)
        fields.append(field)
        columns.append(values)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def from_table(table: pa.Table) -> Iterator[tuple[int, FrameBatch]]:
    """Yield the (offset, batch) pairs of a table that holds all of BATCH_COLUMNS and any signals, in its order.

    A batch's rows must be consecutive. The arrays share memory with the table. An enum's dictionary is that of the
    whole file, which for signals of one catalogue is the dictionary that was sent.
    """
    table = table.combine_chunks()
    if table.num_rows == 0:
        return
    offsets, clocks = _numpy(table["offset"]), _numpy(table["clock"])
    times, starts = _numpy(table["t_mono_ns"]), _numpy(table["start_mono_ns"])
    utc, sequences = _numpy(table["start_utc_ns"]), _numpy(table["sequence"])
    words = {name: _words_of(table[name]) for name in _WORD_COLUMNS}
    own = {*BATCH_COLUMN_NAMES, APPENDED}
    signals = [_Reader(field, table[field.name]) for field in table.schema if field.name not in own]
    # A new offset starts a batch, a new clock a set of instants within it.
    changes = np.flatnonzero((np.diff(offsets) != 0) | (np.diff(clocks) != 0)) + 1
    bounds = [0, *changes.tolist(), table.num_rows]
    at = 0
    while at < len(bounds) - 1:
        first = bounds[at]
        columns: dict[str, Column] = {}
        frames = np.empty(0, np.int64)
        start_mono = int(starts[first])
        offset = int(offsets[first])
        while at < len(bounds) - 1 and offsets[bounds[at]] == offset:
            low, high = bounds[at], bounds[at + 1]
            instants = times[low:high] - start_mono
            is_frames = clocks[low] == FRAMES_CLOCK
            if is_frames:
                frames = instants
            for signal in signals:
                column = signal.read(low, high, None if is_frames else instants)
                if column is not None:
                    columns[signal.path] = column
            at += 1
        word = {name: text[codes[first]] for name, (codes, text) in words.items()}
        yield (
            offset,
            FrameBatch(
                fleet_id=word["fleet"],
                vehicle_id=word["vehicle"],
                boot_id=bytes.fromhex(word["boot"]),
                sequence=int(sequences[first]),
                start_monotonic_ns=start_mono,
                start_utc_ns=int(utc[first]),
                utc_source=word["utc_source"],
                frame_offsets_ns=frames,
                columns=columns,
                model_digest=word["model"],
                shadow_digest=word["shadow_model"],
            ),
        )


def _batch_columns(clocks: Sequence[tuple[int, FrameBatch, int, npt.NDArray[np.int64]]]) -> list[pa.Array]:
    """Build the columns of BATCH_COLUMNS from (offset, batch, clock, instants); one row per instant."""
    lengths = np.array([len(instants) for _, _, _, instants in clocks], np.int64)

    def repeated(values: Sequence[int], dtype: Any) -> pa.Array:
        return pa.array(np.repeat(np.array(values, dtype), lengths))

    def words(values: Sequence[str]) -> pa.Array:
        known = {word: code for code, word in enumerate(dict.fromkeys(values))}
        codes = np.repeat(np.array([known[value] for value in values], np.int32), lengths)
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(known), pa.string()))

    batches = [batch for _, batch, _, _ in clocks]
    instants = np.concatenate([instants for _, _, _, instants in clocks]) if clocks else np.empty(0, np.int64)
    start_mono = np.repeat(np.array([b.start_monotonic_ns for b in batches], np.int64), lengths)
    start_utc = np.repeat(np.array([b.start_utc_ns for b in batches], np.int64), lengths)
    return [
        repeated([offset for offset, _, _, _ in clocks], np.int64),
        repeated([clock for _, _, clock, _ in clocks], np.uint16),
        words([b.vehicle_id for b in batches]),
        pa.array(start_utc + instants).cast(pa.timestamp("ns", "UTC")),
        pa.array(start_mono + instants),
        words([b.fleet_id for b in batches]),
        words([b.boot_id.hex() for b in batches]),
        repeated([b.sequence for b in batches], np.uint64),
        pa.array(start_mono),
        pa.array(start_utc),
        words([b.utc_source for b in batches]),
        words([b.model_digest for b in batches]),
        words([b.shadow_digest for b in batches]),
    ]


def _signal_column(path: str, segments: Sequence[_Segment], rows: int) -> tuple[pa.Field, pa.Array]:
    kinds = {kind_of(segment.column) for segment in segments}
    if len(kinds) > 1:
        raise ValueError(f"{path} has the kinds {', '.join(sorted(kinds))}; one table holds one")
    missing = np.ones(rows, np.bool_)
    for segment in segments:
        missing[segment.start : segment.start + segment.rows] = False
    metadata = {}
    values = [segment.column.values for segment in segments]
    words: list[str] = []
    if segments[0].column.dictionary:
        words = list(dict.fromkeys(word for segment in segments for word in segment.column.dictionary))
        code_of = {word: code for code, word in enumerate(words)}
        values = [
            np.array([code_of[word] for word in segment.column.dictionary], np.int32)[segment.column.values]
            for segment in segments
        ]
        metadata[_WORDS] = json.dumps(words).encode()
    if segments[0].column.splits is None:
        flat = np.zeros(rows, values[0].dtype)
        for segment, piece in zip(segments, values, strict=True):
            flat[segment.start : segment.start + segment.rows] = piece
        array = _typed(flat, words, missing)
    else:
        counts = np.zeros(rows, np.int32)
        for segment in segments:
            assert segment.column.splits is not None  # one kind: all are ragged
            counts[segment.start : segment.start + segment.rows] = np.diff(segment.column.splits)
        ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        order = sorted(range(len(segments)), key=lambda number: segments[number].start)
        child = _typed(np.concatenate([values[number] for number in order]), words, None)
        # Arrow marks a null list at its start offset; the last offset ends the last list and is never null.
        offsets = pa.array(ends, mask=np.append(missing, False))
        array = pa.ListArray.from_arrays(offsets, child)
    return pa.field(path, array.type, metadata=metadata), array


def _typed(flat: npt.NDArray[Any], words: Sequence[str], missing: npt.NDArray[np.bool_] | None) -> pa.Array:
    array = pa.array(flat, mask=missing)
    return pa.DictionaryArray.from_arrays(array, pa.array(words, pa.string())) if words else array


def _numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = _single(column).to_numpy(zero_copy_only=False)
    return values


def _words_of(column: pa.ChunkedArray) -> tuple[npt.NDArray[Any], list[str]]:
    array = _single(column)
    return array.indices.to_numpy(), array.dictionary.to_pylist()


def _single(column: pa.ChunkedArray) -> Any:
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array


class _Reader:
    """Reads one signal's column of a table, slice by slice."""

    def __init__(self, field: pa.Field, column: pa.ChunkedArray) -> None:
        self.path = field.name
        array = _single(column)
        self._present = ~array.is_null().to_numpy(zero_copy_only=False)
        self._splits: npt.NDArray[np.int32] | None = None
        if pa.types.is_list(array.type):
            self._splits = array.offsets.to_numpy()
            array = array.values
        self._words: tuple[str, ...] = ()
        if pa.types.is_dictionary(array.type):
            sent = json.loads((field.metadata or {}).get(_WORDS, b"[]")) or array.dictionary.to_pylist()
            code_of = {word: code for code, word in enumerate(sent)}
            # Arrow's codes to the codes that were sent. `or [0]`: a column of nulls has no dictionary but is indexed.
            lookup = np.array([code_of[word] for word in array.dictionary.to_pylist()] or [0], np.uint16)
            self._words = tuple(sent)
            self._values = lookup[_filled(array.indices)]
        else:
            self._values = _filled(array)

    def read(self, low: int, high: int, instants: npt.NDArray[np.int64] | None) -> Column | None:
        """Return the signal in the rows from `low` to before `high`, all of one clock; None when it is absent."""
        # A signal has a value in every row of its clock or in none, so that the first row decides.
        if not self._present[low]:
            return None
        if self._splits is None:
            return Column(self._values[low:high], instants, None, self._words)
        splits = self._splits[low : high + 1]
        values = self._values[splits[0] : splits[-1]]
        return Column(values, instants, (splits - splits[0]).astype(np.uint32), self._words)


def _filled(array: Any) -> npt.NDArray[Any]:
    """Return the values as a numpy array; nulls become an arbitrary value, which `_present` hides."""
    if array.null_count:
        array = array.fill_null(False if pa.types.is_boolean(array.type) else 0)
    values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values
