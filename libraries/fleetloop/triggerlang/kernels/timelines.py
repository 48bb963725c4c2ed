"""One vehicle's lists of instants, and which columns share one.

A *cadence* is what is new of a list, a *timeline* also has what is remembered. Columns that were sent with the same
instants have one cadence, and one timeline if equally much of them is remembered.
"""

from __future__ import annotations

import numpy as np

from fleetloop.triggerlang.kernels import Ints, inlined, kernel
from fleetloop.triggerlang.kernels.arguments import Log, Pools, Tables
from fleetloop.triggerlang.kernels.remembered import Tail
from fleetloop.triggerlang.kernels.tables import (
    CAD_AT,
    CAD_COLUMN,
    CAD_ID,
    CAD_LEN,
    CADENCES,
    NEXT_ID,
    PIECE_OFFSETS,
    PIECE_ROWS,
    PIECE_VALUES,
    TIMELINES,
    TL_AT,
    TL_CADENCE,
    TL_COLUMN,
    TL_GAP,
    TL_KEEP,
    TL_LEN,
    TL_NEW,
    TL_RAW,
    TL_ROWS,
    TL_TAIL,
    TOP_POSITIONS,
    TOP_TIMES,
    allocate,
)


@kernel
def same_instants(pieces: Ints, batches: Ints, low: int, high: int, a: int, b: int) -> bool:
    """Whether two columns have the same instants in a vehicle's new batches.

    The scan gives equal offsets one position, so comparing positions is enough.
    """
    for k in range(low, high):
        i = batches[k]
        if (pieces[i, a, PIECE_VALUES] < 0) != (pieces[i, b, PIECE_VALUES] < 0):
            return False
        if pieces[i, a, PIECE_VALUES] >= 0 and pieces[i, a, PIECE_OFFSETS] != pieces[i, b, PIECE_OFFSETS]:
            return False
    return True


@kernel
def new_rows(pieces: Ints, batches: Ints, low: int, high: int, column: int) -> int:
    """How many instants of a column are in a vehicle's new batches."""
    rows = 0
    for k in range(low, high):
        if pieces[batches[k], column, PIECE_VALUES] >= 0:
            rows += pieces[batches[k], column, PIECE_ROWS]
    return rows


@inlined
def gather_instants(
    column: int, low: int, high: int, tail: Tail, remembered: Ints, log: Log, times: Ints, at: int
) -> None:
    """Writes a column's instants, remembered ones first, to times[at:]."""
    n = at
    for i in range(tail.kept):
        times[n] = remembered[tail.at + i]
        n += 1
    for k in range(low, high):
        i = log.batches[k]
        if log.pieces[i, column, PIECE_VALUES] < 0:
            continue
        rows, offsets_at = log.pieces[i, column, PIECE_ROWS], log.pieces[i, column, PIECE_OFFSETS]
        if offsets_at < 0:
            offsets_at = log.frame_at[i]
        start = log.start_ns[i]
        offsets = log.data[offsets_at : offsets_at + 8 * rows].view(np.int64)
        for r in range(rows):
            times[n + r] = start + offsets[r]
        n += rows


@kernel
def has_repeats(times: Ints, at: int, n: int) -> bool:
    """Whether two neighbours of n instants are equal."""
    for i in range(at + 1, at + n):
        if times[i] == times[i - 1]:
            return True
    return False


@kernel
def drop_repeats(times: Ints, at: int, n: int, remembered: int, positions: Ints, keep: int) -> tuple[int, int]:
    """Keeps of several points at one instant the last.

    Moves the instants together and writes which points stay to positions[keep:]. Returns how many stay, and how many
    of them come before the first new one.
    """
    kept = 0
    first_new = -1
    for i in range(n):
        if i + 1 < n and times[at + i + 1] == times[at + i]:
            continue
        if first_new < 0 and i >= remembered:
            first_new = kept
        positions[keep + kept] = i
        times[at + kept] = times[at + i]
        kept += 1
    return kept, kept if first_new < 0 else first_new


@inlined
def timeline_of(
    column: int, low: int, high: int, tail: Tail, remembered: Ints, log: Log, pools: Pools, tables: Tables
) -> int:
    """The timeline of a column: one that another column has, or a new one; -1 where there is no point.

    ``remembered`` are the instants that ``tail.at`` refers to.
    """
    raw = tail.kept + new_rows(log.pieces, log.batches, low, high, column)
    result = -1
    if raw > 0:
        cadence = -1
        for j in range(tables.tops[TIMELINES]):
            if same_instants(log.pieces, log.batches, low, high, column, tables.timelines[j, TL_COLUMN]):
                row = tables.timelines[j]
                if row[TL_TAIL] == tail.timeline and row[TL_ROWS] == tail.kept:
                    result = j
                    break
                cadence = row[TL_CADENCE]
        if result < 0:
            at = tables.tops[TOP_TIMES]
            gather_instants(column, low, high, tail, remembered, log, pools.times, at)
            result = add_timeline(
                column, cadence, tail.timeline, tail.kept, raw, pools.times, pools.positions, tables.timelines,
                tables.cadences, tables.tops,
            )  # fmt: skip
    return result


@kernel
def add_timeline(
    column: int, cadence: int, tail: int, tail_rows: int, raw: int, times: Ints, positions: Ints, timelines: Ints,
    cadences: Ints, tops: Ints,
) -> int:  # fmt: skip
    """Makes a timeline of the ``raw`` instants at the top of the times, and its cadence unless another has it."""
    at = tops[TOP_TIMES]
    keep, length, first_new = -1, raw, tail_rows
    if has_repeats(times, at, raw):
        keep = tops[TOP_POSITIONS]
        length, first_new = drop_repeats(times, at, raw, tail_rows, positions, keep)
        tops[TOP_POSITIONS] += length
    tops[TOP_TIMES] = at + length
    if cadence < 0:
        cadence = allocate(tops, CADENCES, 1)
        new = cadences[cadence]
        new[CAD_AT], new[CAD_LEN] = at + first_new, length - first_new
        new[CAD_ID], new[CAD_COLUMN] = allocate(tops, NEXT_ID, 1), column
    result = allocate(tops, TIMELINES, 1)
    row = timelines[result]
    row[TL_AT], row[TL_LEN], row[TL_NEW], row[TL_KEEP], row[TL_RAW] = at, length, first_new, keep, raw
    row[TL_COLUMN], row[TL_TAIL], row[TL_ROWS], row[TL_CADENCE] = column, tail, tail_rows, cadence
    row[TL_GAP] = -1
    return result
